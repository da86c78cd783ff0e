"""Long streams: what a hundred or a thousand tasks cost in time and memory."""

import json
import subprocess
import sys

import torch

from benchmarks.measure import Budget, in_turn
from benchmarks.ours import Placed, images, mlp
from benchmarks.row import Result, Row, Side, milliseconds, peak_memory
from hypermnesia.core.tensors import Tensors, num_bytes
from hypermnesia.data import Stream, from_tensors, permuted
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.training.serialise import pack
from hypermnesia.weights import ChunkedOptions

SHORT, LONG = 10, 1000
PER_STEP = 8
"""Earlier tasks compared in a step."""


def _digits(tasks: int) -> Stream:
    """As many images of that size as the digits have."""
    x, y = images(1440, 10, (1, 8, 8))
    return permuted(from_tensors(x, y, x[:360], y[:360]), tasks=tasks)


def placed(tasks: int) -> Placed:
    method = combine(Finetune(), Drift(beta=0.01, tasks_per_step=PER_STEP))
    return Placed(_digits(tasks), mlp(100, 100), method, "hyper", ChunkedOptions(), tasks - 1)


def thousand(budget: Budget) -> list[Result]:
    """Time and stored bytes at task 1,000 beside task 10."""
    sides = {"long": placed(LONG), "short": placed(SHORT)}
    found = in_turn(sides, budget)
    cost = found["long"].median / found["short"].median
    stored = {}
    for name, side in sides.items():
        kept: Tensors = {}
        pack({"state": side.run.learner.state}, kept, "state")
        stored[name] = num_bytes(kept) + num_bytes(side.run.learner.model.stored())
    growth = (stored["long"] - stored["short"]) / (LONG - SHORT)
    return [
        Result(
            f"task {LONG} {milliseconds(found['long'].median)}",
            f"task {SHORT} {milliseconds(found['short'].median)}",
            f"{cost:.2f}",
            "≤ 1.2",
            cost <= 1.2,
            f"stored by learner and penalty: {stored['short'] / 2**20:.2f} MiB at task {SHORT}, "
            f"{stored['long'] / 2**20:.2f} MiB at task {LONG}: {growth:.0f} bytes per task (an embedding has 32)",
        )
    ]


def stream_memory(tasks: int) -> int:
    """Bytes that a stream of permuted MNIST adds to this process, its images included."""
    before = peak_memory()
    x = torch.zeros(70_000, 1, 28, 28, dtype=torch.uint8)
    y = torch.arange(70_000) % 10
    stream = permuted(from_tensors(x[:60_000], y[:60_000], x[60_000:], y[60_000:]), tasks=tasks, pad=2)
    stream.tasks[-1].train.batch(torch.arange(128))
    return peak_memory() - before


def permuted_memory(_: Budget) -> list[Result]:
    """Measured in processes of their own."""
    found = {}
    for tasks in (10, 100):
        code = f"from benchmarks.rows.long import stream_memory; print(stream_memory({tasks}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found[tasks] = int(json.loads(done.stdout.splitlines()[-1]))
    ratio = found[100] / found[10]
    mebibytes = {tasks: f"{tasks} tasks {size / 2**20:.0f} MiB" for tasks, size in found.items()}
    return [Result(mebibytes[100], mebibytes[10], f"{ratio:.2f}")]


ROWS = (
    Row(
        "tasks-1000",
        f"hnet on 1,000 tasks of permuted digits, {PER_STEP} earlier tasks compared in a step: task 1,000 and task 10",
        thousand,
        (Side(f"task {LONG}", lambda: placed(LONG)), Side(f"task {SHORT}", lambda: placed(SHORT))),
    ),
    Row(
        "stream-memory",
        "memory of permuted MNIST, 70,000 images, with 100 and with 10 tasks",
        permuted_memory,
    ),
)
