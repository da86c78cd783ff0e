"""Fine-tuning, replay and EWC beside Avalanche: S-MNIST's network, data as tensors, no loggers and no metrics."""

import warnings
from typing import Any, Literal

import torch
from torch import nn

from benchmarks import peers
from benchmarks.measure import Budget, Step
from benchmarks.ours import Placed, mlp, settle, split_stream
from benchmarks.row import Absent, Result, Row, Side, contest
from benchmarks.rows.replay import SGD
from benchmarks.rows.stacked import SEEDS, STEPS, stacked
from hypermnesia.methods.base import Method
from hypermnesia.methods.combine import combine
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.ewc import EWC
from hypermnesia.methods.replay.rehearsal import MemoryOptions

ONLINE = combine(Finetune(), EWC(mode="online", strength=1.0))
SAMPLES = 6000
"""Of each experience, half of S-MNIST's."""
TASK = 4
"""The last of five."""


def steps(batch_size: int) -> int:
    return SAMPLES // batch_size


def avalanche(kind: str, batch_size: int) -> Step:
    """Training on the fifth experience once; the four before were trained on."""
    settle()
    peers.declare_torchvision()
    warnings.simplefilter("ignore")  # deprecations of Avalanche's own parts, and of its solvers
    from avalanche.benchmarks import tensors_benchmark  # pyright: ignore[reportMissingImports]
    from avalanche.training import supervised  # pyright: ignore[reportMissingImports]
    from avalanche.training.plugins import EvaluationPlugin  # pyright: ignore[reportMissingImports]

    x = torch.rand(SAMPLES, 1, 28, 28)
    sets = [(x, torch.arange(SAMPLES) % 2 + 2 * task) for task in range(5)]
    stream = tensors_benchmark(train_tensors=sets, test_tensors=sets, task_labels=[0] * 5).train_stream
    net = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU(), nn.Linear(100, 10)
    )
    own: dict[str, Any] = {"Naive": {}, "Replay": {"mem_size": 200}, "EWC": {"ewc_lambda": 1.0}}[kind]
    strategy = getattr(supervised, kind)(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=0.03),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=batch_size,
        train_epochs=1,
        evaluator=EvaluationPlugin(),
        **own,
    )
    for experience in stream[:TASK]:
        strategy.train(experience)
    for plugin in strategy.plugins:  # what belongs to a task's end is no part of a step
        if type(plugin).__name__ == "EWCPlugin":
            plugin.after_training_exp = lambda *_, **__: None

    def step() -> None:
        strategy.clock.train_exp_counter = TASK
        strategy.train(stream[TASK])

    return step


def ours(method: Method, batch_size: int, graph: bool) -> Step:
    """As many of our steps as an experience has, batches, draws and bookkeeping included."""
    stream = split_stream(5, 2, each=600)
    placed = Placed(
        stream, mlp(100, 100), method, task=TASK, batch_size=batch_size, optimizer=SGD, compile=graph
    )

    def many() -> None:
        for _ in range(steps(batch_size)):
            placed()

    return many


def beside_avalanche(
    name: str,
    kind: str,
    method: Method,
    batch_size: int,
    wanted: float | None,
    how: Literal["", "compiled", "stacked", "stacked-compiled"] = "",
) -> Row:
    label = "-".join(["avalanche", name, str(batch_size), *([how] if how else [])])
    stacks = how.startswith("stacked")
    ours_is = (", ours per seed of ten stacked ones" if stacks else "") + (
        ", ours compiled" if how.endswith("compiled") else ""
    )
    about = f"a step of {name} at task 5, S-MNIST, batch {batch_size}{ours_is}"
    if not peers.installed():
        return Row(label, about, _absent, peers=True)
    times = steps(batch_size)
    if stacks:
        side = Side("ours", stacked(method, how == "stacked-compiled"), SEEDS * STEPS)
    else:
        side = Side("ours", lambda: ours(method, batch_size, how == "compiled"), times)
    other = Side("Avalanche", lambda: avalanche(kind, batch_size), times)
    return contest(label, about, side, other, wanted, peers=True, threads=2 if stacks else None)


def _absent(_: Budget) -> list[Result]:
    raise Absent("Avalanche is not installed: python -m benchmarks --peers")


def ours_at(task: int) -> Step:
    stream = split_stream(5, 2, each=600)
    return Placed(stream, mlp(100, 100), ONLINE, task=task, batch_size=10, optimizer=SGD)


def _er(batch_size: int) -> ER:
    return ER(memory=MemoryOptions(size=200, batch_size=batch_size))


ROWS = (
    beside_avalanche("finetune", "Naive", Finetune(), 10, 1.5),
    beside_avalanche("er", "Replay", _er(10), 10, 1.5),
    beside_avalanche("ewc", "EWC", ONLINE, 10, 3),
    beside_avalanche("finetune", "Naive", Finetune(), 10, 5, "compiled"),
    beside_avalanche("er", "Replay", _er(10), 10, 4, "compiled"),
    beside_avalanche("ewc", "EWC", ONLINE, 10, 6, "compiled"),
    beside_avalanche("finetune", "Naive", Finetune(), 10, None, "stacked"),
    beside_avalanche("er", "Replay", _er(10), 10, None, "stacked"),
    beside_avalanche("finetune", "Naive", Finetune(), 10, 10, "stacked-compiled"),
    beside_avalanche("er", "Replay", _er(10), 10, 8, "stacked-compiled"),
    beside_avalanche("finetune", "Naive", Finetune(), 128, None),
    beside_avalanche("er", "Replay", _er(128), 128, None),
    beside_avalanche("ewc", "EWC", ONLINE, 128, None),
    contest(
        "ewc-tasks",
        "a step of online EWC at task 5 in units of one at task 2",
        Side("task 5", lambda: ours_at(4)),
        Side("task 2", lambda: ours_at(1)),
        1.1,
        "cost",
    ),
)
