"""The transformer encoders for images and for texts, against their formulas."""

from fnmatch import fnmatch

import pytest
import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import NetOptions, TextTransformerOptions, ViTOptions

COLOUR = (3, 32, 32)
SMALL = {"width": 12, "heads": 3, "depth": 2}


def test_size_follows_from_the_options():
    net = ViTOptions(patch=4, depth=6, width=192, heads=6, mlp_ratio=2.0).build(COLOUR, 10)
    attention, mlp, norms = 4 * (192 * 192 + 192), 192 * 384 + 384 + 384 * 192 + 192, 2 * 2 * 192
    embedding = 3 * 4 * 4 * 192 + 192 + 64 * 192
    expected = embedding + 6 * (attention + mlp + norms) + 2 * 192 + 192 * 10 + 10
    assert sum(p.numel() for p in net.parameters()) == expected


def test_patterns_find_the_attention():
    net = ViTOptions(**SMALL).build(COLOUR, 10)
    matched = [name for name, _ in net.named_parameters() if fnmatch(name, "*.attn.*")]
    assert matched == [
        f"block{i}.attn.{part}.{kind}" for i in (1, 2) for part in "qkvo" for kind in ("weight", "bias")
    ]
    assert all(isinstance(net.get_submodule(f"block1.attn.{part}"), torch.nn.Linear) for part in "qkvo")


def test_fused_attention_equals_the_explicit_one():
    explicit, fused = (
        ViTOptions(**SMALL, attention=name).build(COLOUR, 10) for name in ("explicit", "fused")
    )
    fused.load_state_dict(explicit.state_dict())
    x = torch.randn(3, *COLOUR)
    torch.testing.assert_close(fused(x), explicit(x))


def test_attention_equals_a_loop_over_heads_and_tokens():
    attn = ViTOptions(**SMALL).build(COLOUR, 10).get_submodule("block1.attn").double()
    tokens = torch.randn(2, 5, 12).double()
    q, k, v = attn.q(tokens), attn.k(tokens), attn.v(tokens)
    mixed = torch.zeros_like(tokens)
    for image in range(2):
        for head in (slice(0, 4), slice(4, 8), slice(8, 12)):
            for token in range(5):
                scores = torch.stack(
                    [q[image, token, head] @ k[image, other, head] / 2 for other in range(5)]
                )
                weights = scores.exp() / scores.exp().sum()
                mixed[image, token, head] = sum(weights[other] * v[image, other, head] for other in range(5))
    torch.testing.assert_close(attn(tokens), attn.o(mixed))


def test_patches_are_rows_of_the_embedding():
    net = ViTOptions(**SMALL, patch=8).build((1, 16, 24), 2)
    x = torch.randn(1, 1, 16, 24)
    tokens = net.embed(x)
    assert tokens.shape == (1, 6, 12)
    lower_middle = x[:, :, 8:16, 8:16].flatten(1)
    weight, bias = net.embed.projection.weight.flatten(1), net.embed.projection.bias
    torch.testing.assert_close(tokens[:, 4], lower_middle @ weight.T + bias + net.embed.position[4])


def test_patches_must_fit():
    with pytest.raises(
        HypermnesiaError,
        match=r"net\.patch=5 does not divide images of 28 x 28 pixels: choose one of 1, 2, 4, 7, 14, 28",
    ):
        ViTOptions(patch=5).build((1, 28, 28), 10)


def built(**options) -> nn.Sequential:
    return TextTransformerOptions(vocabulary=30, width=8, heads=2, **options).build((6,), 3).eval()


def slow_block(block, x: Tensor, words: int) -> Tensor:
    """A block over the words of one text (n, D), head by head, word by word: padding is simply not there."""
    normed = block.norm1(x)
    q, k, v = (linear(normed) for linear in (block.attn.q, block.attn.k, block.attn.v))
    out = torch.zeros_like(x)
    size = x.shape[1] // block.attn.heads
    for h in range(block.attn.heads):
        part = slice(h * size, (h + 1) * size)
        for i in range(words):
            scores = torch.stack([q[i, part] @ k[j, part] / size**0.5 for j in range(words)]).softmax(0)
            out[i, part] = sum(scores[j] * v[j, part] for j in range(words))
    x = x + block.attn.o(out)
    return x + block.mlp(block.norm2(x))


@pytest.mark.parametrize("attention", ["explicit", "fused"])
def test_padding_is_as_if_it_were_not_there(attention):
    net = built(attention=attention)
    for words in (1, 4, 6):
        x = torch.zeros(1, 6, dtype=torch.int64)
        x[0, :words] = torch.arange(1, 1 + words)
        h = net.embed.table[x[0, :words]] + net.embed.position[:words]
        for block in (net.block1, net.block2):
            h = slow_block(block, h, words)
        expected = net.head(torch.nn.functional.layer_norm(h, (8,), net.norm.weight, net.norm.bias).mean(0))
        torch.testing.assert_close(net(x)[0], expected)


def test_a_text_without_words_has_an_answer():
    assert built()(torch.zeros(1, 6, dtype=torch.int64)).isfinite().all()


def test_ids_beyond_the_table_are_folded_and_never_become_padding():
    net, x = built(), torch.tensor([[29, 58, 0, 0, 0, 0]])
    folded = torch.tensor([[29, 29, 0, 0, 0, 0]])
    assert torch.equal(net(x), net(folded))
    many = net.embed(torch.arange(1, 200).reshape(-1, 1).expand(-1, 6))
    assert (many[..., -1] == 1).all()
    table = {tuple(row.tolist()) for row in net.embed.table[1:]}
    first = many[:, 0, :-1] - net.embed.position[0]
    assert all(min((row - torch.tensor(known)).abs().max() for known in table) < 1e-6 for row in first[::20])


@pytest.mark.parametrize("kind", [ViTOptions, TextTransformerOptions])
@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"width": 100, "heads": 3},
            r"net\.width=100 is no multiple of net\.heads=3: heads take equal shares",
        ),
        ({"mlp_ratio": 1e-6}, r"net.mlp_ratio=1e-06 leaves no hidden unit; take a larger one"),
    ],
)
def test_bad_options(kind: type[NetOptions], options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        kind(**options)
