"""Ten seeds as one program, in units of one seed."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from benchmarks.measure import Step
from benchmarks.ours import mlp, split_stream
from benchmarks.row import Row, Side, contest
from benchmarks.rows.replay import SGD
from hypermnesia.methods.base import Method
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.training.stacked import together
from hypermnesia.weights.build import model_for

SEEDS = 10
STEPS = 50
"""In one timing: batches, draws and bookkeeping included, evaluation not."""


def run(method: Method, seed: int, compile: bool = False) -> Fit:
    stream = split_stream(5, 2, each=600)
    train = TrainOptions(iterations=1_000_000, batch_size=10, compile=compile)
    seeds = Seeds(init=seed, order=seed, method=seed)
    return Fit(model_for(stream, mlp(100, 100)(stream), seed=seed), stream, method, train, SGD, seeds=seeds)


def steps(events: Iterator[Any], count: int) -> Step:
    """Go on until so many further steps are done."""
    done = (event for event in events if isinstance(event, StepDone))
    return lambda: list(islice(done, count))


def alone(method: Method, compile: bool = False) -> Callable[[], Step]:
    return lambda: steps(iter(run(method, 0, compile)), STEPS)


def stacked(method: Method, compile: bool = False) -> Callable[[], Step]:
    def make() -> Step:
        events = together([run(method, seed, compile) for seed in range(SEEDS)])
        return steps((event for _, event in events), SEEDS * STEPS)

    return make


def row(name: str, method: Method, wanted: float, compile: bool = False) -> Row:
    how = (", both compiled", "-compiled") if compile else ("", "")
    return contest(
        f"stacked-{name}{how[1]}",
        f"a step of ten stacked seeds of {name} in units of a step of one, S-MNIST, batch 10{how[0]}",
        Side("ten seeds", stacked(method, compile), STEPS),
        Side("one seed", alone(method, compile), STEPS),
        None if compile else wanted,
        "cost",
        threads=2,
    )


ER_10 = ER(memory=MemoryOptions(size=200, batch_size=10))
ROWS = (
    row("finetune", Finetune(), 4),
    row("er", ER_10, 2.5),
    row("finetune", Finetune(), 4, compile=True),
    row("er", ER_10, 2.5, compile=True),
)
