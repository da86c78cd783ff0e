"""Convolutional targets: bf16 and channels-last beside float32."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measure import Budget, in_turn
from benchmarks.ours import Placed
from benchmarks.row import Result, Row, Side, milliseconds
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.data import Stream, from_tensors, split
from hypermnesia.methods.finetune import Finetune
from hypermnesia.nets import ResNet18Options

CLASSES, STEPS = 10, 60


def _net(stream: Stream) -> Callable[[int], nn.Module]:
    return lambda outputs: ResNet18Options(width=64).build(stream.shape, outputs)


def _stream() -> Stream:
    """Noisy copies of one random image per class: learnable within a few steps, and not at once."""
    rng = generator(0, "prototypes")
    y = torch.arange(1500) % CLASSES
    prototypes = torch.rand(CLASSES, 3, 32, 32, generator=rng)
    x = (0.25 * prototypes[y] + 0.75 * torch.rand(1500, 3, 32, 32, generator=rng)).mul(255).byte()
    return split(from_tensors(x[:1000], y[:1000], x[1000:], y[1000:]), tasks=1)


def _placed(low: bool) -> Placed:
    options = OptimizerOptions(name="sgd", lr=0.03)
    train = {"precision": "bf16", "channels_last": True} if low else {}
    return Placed(_stream(), _net, Finetune(), batch_size=32, optimizer=options, **train)


@torch.no_grad()
def _accuracy(placed: Placed) -> float:
    run = placed.run
    model = run.learner.model.eval()
    raw, y = run.stream.tests[0].batch(torch.arange(500))
    found = torch.cat([model(part, 0) for part in run.stream.preprocess(raw).split(100)])
    model.train()
    return float((found.argmax(1) == y).double().mean())


def resnet18(budget: Budget) -> list[Result]:
    sides = {"bf16": _placed(low=True), "float32": _placed(low=False)}
    accuracies = {}
    for name, placed in sides.items():
        for _ in range(STEPS):
            placed()
        accuracies[name] = _accuracy(placed)
    found = in_turn(sides, budget)
    ratio = found["float32"].median / found["bf16"].median
    shown = ", ".join(f"{name} {value:.3f}" for name, value in accuracies.items())
    return [
        Result(
            f"bf16, channels-last {milliseconds(found['bf16'].median)}",
            f"float32 {milliseconds(found['float32'].median)}",
            f"{ratio:.2f}",
            "≥ 2.5",
            ratio >= 2.5,
            f"accuracy after {STEPS} steps on noisy prototypes: {shown}",
        )
    ]


ROWS = (
    Row(
        "resnet18-bf16",
        "a training step of the ResNet-18 of width 64, batch 32 (`train.precision=bf16 train.channels_last=true`)",
        resnet18,
        (Side("bf16", lambda: _placed(low=True)), Side("float32", lambda: _placed(low=False))),
    ),
)
