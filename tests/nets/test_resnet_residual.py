import torch
from torch import nn

from hypermnesia.nets.resnet import BasicBlock, PadShortcut


def test_pad_shortcut_equals_its_definition():
    x = torch.randn(2, 4, 5, 6)
    y = PadShortcut(4, 9, 2)(x)
    assert y.shape == (2, 9, 3, 3)
    expected = torch.zeros(2, 9, 3, 3)
    for channel in range(4):
        for row in range(3):
            for column in range(3):
                expected[:, 2 + channel, row, column] = x[:, channel, 2 * row, 2 * column]
    assert torch.equal(y, expected)


def test_shortcuts_only_where_the_shape_changes():
    def shortcut(inputs: int, outputs: int, stride: int, name) -> nn.Module:
        return BasicBlock(inputs, outputs, stride, nn.BatchNorm2d, False, name).shortcut

    assert isinstance(shortcut(4, 4, 1, "projection"), nn.Identity)
    assert isinstance(shortcut(4, 4, 1, "identity"), nn.Identity)
    assert isinstance(shortcut(4, 6, 1, "identity"), PadShortcut)
    assert isinstance(shortcut(4, 4, 2, "identity"), PadShortcut)
    assert [name for name, _ in shortcut(4, 6, 1, "projection").named_parameters()] == [
        "conv.weight",
        "norm.weight",
        "norm.bias",
    ]


def test_a_block_whose_convolutions_write_zero_passes_its_input_on():
    block = BasicBlock(4, 4, 1, nn.BatchNorm2d, True, "identity")
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    x = torch.randn(3, 4, 5, 5)
    torch.testing.assert_close(block(x), x.relu())
