"""Small transformer encoders, for images (ViT) and for texts.

Shapes: B inputs, L tokens, D width.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge
from torch import Tensor, nn

from hypermnesia.core.declared import Checked, Count, Positive
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets.mlp import xavier
from hypermnesia.nets.options import Shape, check_shape, check_text_shape

AttentionName = Literal["explicit", "fused"]


@dataclass(frozen=True, kw_only=True)
class EncoderOptions(Checked, section="net"):
    """What the two transformers share: embedding, block1 … blockN, norm, pool, head."""

    depth: Count = 6
    """Number of blocks."""
    width: Count = 192
    """Size D of a token; a multiple of `heads`."""
    heads: Count = 6
    """Attention heads of each block."""
    mlp_ratio: Positive = 2.0
    """Hidden units of each block's MLP as a multiple of `width`, above 0."""
    attention: AttentionName = "explicit"
    """explicit: softmax(q kᵀ / √d) v spelled out, which can be stacked (vmap) and differentiated twice.
    fused: one kernel, spares memory on a GPU, but is differentiated only once and on a CPU not stacked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise HypermnesiaError(
                f"net.width={self.width} is no multiple of net.heads={self.heads}: heads take equal shares"
            )
        if round(self.width * self.mlp_ratio) < 1:
            raise HypermnesiaError(f"net.mlp_ratio={self.mlp_ratio} leaves no hidden unit; take a larger one")

    def _encoder(
        self, embed: nn.Module, block: "type[Block]", norm: type[nn.LayerNorm], pool: nn.Module, outputs: int
    ) -> nn.Sequential:
        parts = OrderedDict(embed=embed)
        for i in range(1, self.depth + 1):
            hidden = round(self.width * self.mlp_ratio)
            parts[f"block{i}"] = block(self.width, self.heads, hidden, self.attention)
        parts |= OrderedDict(norm=norm(self.width), pool=pool, head=nn.Linear(self.width, outputs))
        net = nn.Sequential(parts)
        xavier(net)
        return net


@dataclass(frozen=True, kw_only=True)
class ViTOptions(EncoderOptions):
    """Patches, learned positions, pre-norm blocks, layer norm, the mean over tokens, head.

    The mean stands where the paper has a class token, as in the simpler baseline of Beyer et al. 2022
    (arXiv:2205.01580). Layer norm looks at one token at a time, so there is no other norm to choose.
    """

    patch: Count = 4
    """Side of the square patches in pixels; must divide the images' height and width."""

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from images (B, *shape), sides multiples of `patch`, to logits (B, outputs).

        Stages: embed, block1 … blockN, norm, pool, head. Attention's maps are `block*.attn.{q,k,v,o}`. Initial
        weights: linear maps Xavier-uniform with zero bias, positions normal with standard deviation 0.02.
        """
        check_shape("vit", shape, outputs)
        _, height, width = shape
        if height % self.patch or width % self.patch:
            fitting = [p for p in range(1, min(height, width) + 1) if height % p == 0 and width % p == 0]
            raise HypermnesiaError(
                f"net.patch={self.patch} does not divide images of {height} x {width} pixels: "
                f"choose one of {', '.join(map(str, fitting))}"
            )
        embed = PatchEmbedding(shape, self.patch, self.width)
        return self._encoder(embed, Block, nn.LayerNorm, MeanOfTokens(), outputs)


class PatchEmbedding(nn.Module):
    """Images (B, C, height, width) to tokens (B, N, D): each patch mapped linearly, plus its position."""

    def __init__(self, shape: Shape, patch: int, width: int) -> None:
        super().__init__()
        channels, rows, columns = shape[0], shape[1] // patch, shape[2] // patch
        self.projection = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(torch.empty(rows * columns, width))
        nn.init.normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.projection(x).flatten(2).transpose(1, 2) + self.position


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); the shape (B, N, D) stays."""

    def __init__(self, width: int, heads: int, hidden: int, attention: AttentionName) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, attention)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(up=nn.Linear(width, hidden), gelu=nn.GELU(), down=nn.Linear(hidden, width))
        )

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x), bias)
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    """Self-attention between the tokens (B, N, D) of each image, every token seeing every other.

    `bias`, (B, 1, 1, N) or None, is added to the scores of each token that is looked at.
    """

    def __init__(self, width: int, heads: int, attention: AttentionName) -> None:
        super().__init__()
        self.heads = heads
        self.mix = F.scaled_dot_product_attention if attention == "fused" else explicit_attention
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        q, k, v = (self._split(linear(x)) for linear in (self.q, self.k, self.v))
        return self.o(self.mix(q, k, v, bias).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, H, N, D / H)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class MeanOfTokens(nn.Module):
    """Tokens (B, N, D) to their mean (B, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


def explicit_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √d + bias) v, for queries, keys and values (B, H, N, d) and a bias that broadcasts."""
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    return torch.softmax(scores if bias is None else scores + bias, dim=-1) @ v


@dataclass(frozen=True, kw_only=True)
class TextTransformerOptions(EncoderOptions):
    """Token and position embeddings, pre-norm blocks, layer norm, the mean over words, head.

    The blocks are those of `vit`; padding (token 0) takes no part in attention nor in the mean.
    """

    takes = ("texts",)

    vocabulary: Annotated[int, Ge(2)] = 16384
    """Rows of the token table, at least 2. Ids beyond are folded into 1..vocabulary − 1; 0 is padding."""
    depth: Count = 2
    width: Count = 64
    heads: Count = 4

    def build(self, shape: Shape, outputs: int) -> nn.Sequential:
        """A network from int64 tokens (B, L), `shape` being (L,), to logits (B, outputs).

        Stages: embed, block1 … blockN, norm, pool, head. Attention's maps are `block*.attn.{q,k,v,o}`. Between
        `embed` and `pool` a text is (B, L, D + 1): the last number of each token says whether it is a word (1) or
        padding (0). So what goes from stage to stage is one tensor wherever the network is cut. Initial weights:
        linear maps Xavier-uniform with zero bias, embeddings normal with standard deviation 0.1.
        """
        check_text_shape("text-transformer", shape, outputs)
        embed = TokenEmbedding(self.vocabulary, shape[0], self.width)
        return self._encoder(embed, WordBlock, WordNorm, MeanOfWords(), outputs)


class TokenEmbedding(nn.Module):
    """Tokens (B, L) to (B, L, D + 1): each looked up, plus its position, and whether it is a word."""

    def __init__(self, vocabulary: int, length: int, width: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self.table = nn.Parameter(torch.empty(vocabulary, width))
        self.position = nn.Parameter(torch.empty(length, width))
        nn.init.normal_(self.table, std=0.1)
        nn.init.normal_(self.position, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        folded = torch.where(x < self.vocabulary, x, 1 + (x - 1) % (self.vocabulary - 1))
        words = F.embedding(folded, self.table) + self.position
        return torch.cat([words, (x != 0).unsqueeze(-1).to(words.dtype)], -1)


class WordBlock(Block):
    """A block in which no token attends to padding; the shape (B, L, D + 1) stays."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        words, real = x[..., :-1], x[..., -1:]
        # (B, 1, 1, L); finite, so that a text without words has no NaN
        bias = (real.mT.unsqueeze(1) - 1) * 1e9
        return torch.cat([super().forward(words, bias), real], -1)


class WordNorm(nn.LayerNorm):
    """Layer norm of the tokens (B, L, D + 1) but for their last number."""

    def forward(self, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.cat([super().forward(x[..., :-1]), x[..., -1:]], -1)


class MeanOfWords(nn.Module):
    """Tokens (B, L, D + 1) to the mean (B, D) of those that are words."""

    def forward(self, x: Tensor) -> Tensor:
        words, real = x[..., :-1], x[..., -1:]
        return (words * real).sum(1) / real.sum(1).clamp(min=1)
