"""Where a step's time goes: `python -m benchmarks.profile [APPROACH ...]`, a table per approach as Markdown.

Each approach runs its Split MNIST settings (random images of that shape) up to its fourth task. Then, on one thread:
the processor time of a step, its physical limit, its floating-point operations (matrix products and convolutions, counted
by torch), how much of what this machine's matrix products reach that is, the bytes that all trained numbers take, and the
shares of a step in products, in the optimizer, in other operations, and outside of operations (Python, and calling them).

The limit is the operations at the rate of a large product, and the passes that a step cannot do without over the trained
numbers at the speed at which an array of their size is copied: read forward and backward, the gradient written and read,
the optimizer's numbers read and written.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from statistics import median

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from benchmarks.ours import settle, split_stream
from hypermnesia.experiments.build import assemble
from hypermnesia.experiments.resolve import resolve
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit

APPROACHES = (
    *("finetune", "ewc", "si", "lwf", "er", "derpp", "er-ace", "hcr", "agem", "icarl"),
    *("hnet", "phn", "hypermask"),
)
EARLIER, TASK, STEPS = 12, 3, 40
"""Steps of each earlier task, the task that is looked at, and how many of its steps."""
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "mkldnn", "linear", "dot")
OPTIMIZERS = ("_fused_adam", "_fused_sgd", "_foreach")
PASSES = {torch.optim.SGD: 6, torch.optim.Adam: 10, torch.optim.AdamW: 10}


@dataclass(frozen=True)
class Profile:
    """Of one step."""

    seconds: float
    flops: int
    trained: int
    """Bytes of the numbers that the optimizer moves."""
    passes: int
    """Over these numbers."""
    products: float
    """Share of the time, 0..1, as the others."""
    optimizer: float
    other: float

    @property
    def outside(self) -> float:
        return max(0.0, 1 - self.products - self.optimizer - self.other)


def matrix_rate(size: int = 1024, times: int = 20) -> float:
    """Floating-point operations per second that a square matrix product of this machine reaches, on the set threads."""
    a, b = torch.rand(size, size), torch.rand(size, size)
    out, best = torch.empty(size, size), float("inf")
    for _ in range(times):
        began = time.process_time()
        torch.mm(a, b, out=out)
        best = min(best, time.process_time() - began)
    return 2 * size**3 / best


def copy_rate(size: int, times: int = 50) -> float:
    """Bytes per second, read and written together, at which an array of `size` bytes is copied: of its cache's speed, too."""
    source = torch.rand(max(1, size // 4))
    target, best = torch.empty_like(source), float("inf")
    for _ in range(times):
        began = time.perf_counter()
        target.copy_(source)
        best = min(best, time.perf_counter() - began)
    return 2 * size / best


def run_of(approach: str) -> Fit:
    """At its published settings, but for the number of steps."""
    words = [f"train.iterations={EARLIER}", "evaluate.every=end", "evaluate.samples=10", "train.threads=1"]
    words += ["method.strength=1"] if approach == "ewc" else []  # random images would make it diverge
    words += ["memory.size=200"] if approach in ("er", "derpp", "er-ace", "hcr", "agem", "icarl") else []
    return assemble(resolve("split-mnist", approach, words), split_stream(5, 2, each=600))


def placed(run: Fit) -> Iterator[StepDone]:
    """The steps of the task that is looked at, the earlier ones trained shortly."""
    steps = (event for event in run if isinstance(event, StepDone))
    for step in steps:
        if step.task == TASK - 1 and step.step == EARLIER:
            break
    run.train = type(run.train)(iterations=10**9, batch_size=run.train.batch_size, threads=1)
    return steps


def profiled(approach: str) -> Profile:
    run = run_of(approach)
    steps = placed(run)
    list(islice(steps, 10))
    timings = []
    for _ in range(STEPS):
        began = time.process_time()
        next(steps)
        timings.append(time.process_time() - began)
    with FlopCounterMode(display=False) as counter:
        next(steps)
    with profile(activities=[ProfilerActivity.CPU]) as found:
        began = time.perf_counter()
        list(islice(steps, 10))
        watched = time.perf_counter() - began  # longer than ten other steps, all parts of it alike
    spent = {e.key: e.self_cpu_time_total * 1e-6 for e in found.key_averages() if e.key.startswith("aten::")}
    seconds = median(timings)

    def share(takes: Callable[[str], bool]) -> float:
        return sum(s for key, s in spent.items() if takes(key.removeprefix("aten::"))) / watched

    def product(key: str) -> bool:
        return key.startswith(PRODUCTS)

    def moves(key: str) -> bool:
        return key.startswith(OPTIMIZERS)

    return Profile(
        seconds,
        counter.get_total_flops(),
        sum(4 * p.numel() for p in run.learner.model.parameters() if p.requires_grad),
        PASSES[type(run.optimizers["main"])],
        share(product),
        share(moves),
        share(lambda key: not product(key) and not moves(key)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("approaches", nargs="*", metavar="APPROACH", default=APPROACHES)
    torch.set_num_threads(1)
    settle()
    rate = matrix_rate()
    print(f"{machine.processor()}; one thread, {rate / 1e9:.0f} GFLOP/s in a product of 1024 × 1024\n")
    print(
        "| approach | a step | limit | MFLOP | of the matrix rate | trained | products | optimizer | other | outside |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for approach in parser.parse_args().approaches:
        found = profiled(approach)
        limit = found.flops / rate + found.passes * found.trained / copy_rate(found.trained)
        parts = (found.products, found.optimizer, found.other, found.outside)
        print(
            f"| `{approach}` | {1e3 * found.seconds:.3g} ms | {1e3 * limit:.2g} ms | {found.flops / 1e6:.1f} "
            f"| {found.flops / found.seconds / rate:.0%} | {found.trained / 1e6:.2f} MB | "
            + " | ".join(f"{part:.0%}" for part in parts)
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
