"""The transformer encoder for texts, against its formula."""

import pytest
import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import TextTransformer, TextTransformerOptions


def built(**options) -> TextTransformer:
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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"vocabulary": 1}, "net.vocabulary=1: expected a whole number, at least 2"),
        ({"width": 10, "heads": 4}, "net.width=10 is no multiple of net.heads=4: heads take equal shares"),
        ({"mlp_ratio": 0.0}, "net.mlp_ratio=0.0: expected a number above 0, with at least one hidden unit"),
        ({"depth": 0}, "net.depth=0: expected a whole number, at least 1"),
        ({"attention": "flash"}, "flash"),
    ],
)
def test_bad_options(options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        TextTransformerOptions(**options)
