"""Replay methods beside the bare step: forward, backward and optimizer on the same network and as many samples."""

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.measure import Step
from benchmarks.ours import Placed, mlp, settle, split_stream
from benchmarks.row import Row, Side, contest
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.methods.base import Method
from hypermnesia.methods.der import DERPP
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.hcr import HCR
from hypermnesia.methods.replay.rehearsal import MemoryOptions

SGD = OptimizerOptions(name="sgd", lr=0.03)
MEMORY = MemoryOptions(size=200, batch_size=10)
BATCH = 10


def placed(method: Method, batch_size: int = BATCH, compile: bool = False) -> Placed:
    """A step of S-MNIST with buffer 200; the memory is full when timing begins."""
    found = Placed(
        split_stream(5, 2, each=600),
        mlp(100, 100),
        method,
        batch_size=batch_size,
        optimizer=SGD,
        compile=compile,
    )
    for _ in range(30):
        found()
    return found


def bare(samples: int, graph: bool = False) -> Step:
    """Forward, backward and optimizer step on samples that are at hand, in plain PyTorch."""
    settle()
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    optimizer = torch.optim.SGD(net.parameters(), lr=0.03)
    x, y, params = torch.rand(samples, 1, 28, 28), torch.randint(10, (samples,)), list(net.parameters())

    def gradients(x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(F.cross_entropy(net(x), y), params)

    compute = torch.compile(gradients, fullgraph=True, dynamic=False)

    def step() -> None:
        if graph:
            with torch._dynamo.config.patch(trace_autograd_ops=True):
                found = compute(x, y)
            for parameter, gradient in zip(params, found, strict=True):
                parameter.grad = gradient
        else:
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
        optimizer.step()

    return step


def beside_bare(name: str, method: Method, samples: int, wanted: float | None, graph: bool = False) -> Row:
    how = ", both compiled" if graph else ""
    return contest(
        f"{name}-compiled" if graph else name,
        f"a step of {name}, S-MNIST (batch 10, buffer 200), in units of a bare step of {samples} samples{how}",
        Side("ours", lambda: placed(method, compile=graph)),
        Side("bare", lambda: bare(samples, graph)),
        wanted,
        "cost",
    )


ROWS = (
    beside_bare("finetune", Finetune(), BATCH, None),
    beside_bare("er", ER(memory=MEMORY), 2 * BATCH, 1.6),
    beside_bare("derpp", DERPP(memory=MEMORY), 3 * BATCH, None),
    beside_bare("hcr", HCR(memory=MEMORY), 5 * BATCH, 1.6),
    beside_bare("er", ER(memory=MEMORY), 2 * BATCH, 1.3, graph=True),
    beside_bare("hcr", HCR(memory=MEMORY), 5 * BATCH, 1.8, graph=True),
)
