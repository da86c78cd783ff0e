from fnmatch import fnmatch

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import ViTOptions

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


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"depth": 0}, r"net\.depth=0: expected a whole number"),
        (
            {"width": 100, "heads": 3},
            r"net\.width=100 is no multiple of net\.heads=3: heads take equal shares",
        ),
        ({"mlp_ratio": -1.0}, r"net\.mlp_ratio=-1\.0: expected a number above 0"),
        ({"mlp_ratio": float("nan")}, r"net\.mlp_ratio=nan: expected a number above 0"),
        ({"attention": "flash"}, r"unknown net\.attention 'flash'.* known: explicit, fused"),
    ],
)
def test_bad_options(options: dict, text: str):
    with pytest.raises(HypermnesiaError, match=text):
        ViTOptions(**options)


def test_patches_must_fit():
    with pytest.raises(
        HypermnesiaError,
        match=r"net\.patch=5 does not divide images of 28 x 28 pixels: choose one of 1, 2, 4, 7, 14, 28",
    ):
        ViTOptions(patch=5).build((1, 28, 28), 10)
