"""A frozen transformer learns ten tasks: adapters that a hypernetwork writes, against the ways to do without one.

`python -m benchmarks.adapters --data-dir DATA` trains a small vision transformer on CIFAR-10, then lets it learn split
CIFAR-100 (10 tasks of 10 classes) with everything frozen but what each row adds, and prints the table as Markdown.

| row | what a task adds | what holds earlier tasks |
|---|---|---|
| nearest class mean | ten mean features | nothing moves |
| hypernetwork | an embedding and a classifier; one generator writes all adapters | the drift penalty |
| adapter per task | an adapter and a classifier | nothing is shared: the bound for forgetting |
| one adapter, fine-tuned | ten outputs | nothing |
| one adapter, ER | ten outputs | a memory of samples |

An adapter is a low-rank addition to the attention's matrices. Where weights differ by task, the class scenario infers
the task by the nearest class mean in each task's features. All rows see the same stream, steps and batches; learning
rates were not tuned row by row.
"""

import argparse
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

import hypermnesia as hm
from hypermnesia.core import tensors
from hypermnesia.data import Part, Stream
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.infer import Prototype
from hypermnesia.evaluation.infer.base import features
from hypermnesia.experiments.pretrained import start_from
from hypermnesia.methods.base import Method
from hypermnesia.nets import ViTOptions
from hypermnesia.weights.options import LoRA, Plain

TARGETS = ("*.attn.*",)
ADDED = ".parametrizations.weight.0."
"""In the names of an adapter's parameters."""


@dataclass(frozen=True)
class Budget:
    """How much of everything. `short`: a quarter of an hour on one CPU thread, for the whole table."""

    net: ViTOptions = ViTOptions(patch=8, depth=4, width=96, heads=4)
    pretraining: int = 4000
    """Steps of 128 on CIFAR-10, with augmentation."""
    steps: int = 200
    """Per task, of 64 samples, without augmentation."""
    tasks: int = 10
    tested: int = 200
    """Test samples of each task."""
    rank: int = 4
    memory: int = 500
    """Samples of ER's memory."""
    beta: float = 1.0
    """Of the drift penalty."""


BUDGETS = {
    "tiny": Budget(ViTOptions(patch=8, depth=2, width=32, heads=2), 20, 3, tasks=3, tested=20),
    "short": Budget(),
    "full": Budget(ViTOptions(patch=4, depth=6, width=192, heads=6), 20000, 1000, tested=1000),
}


@dataclass(frozen=True)
class Size:
    """What is stored beside the frozen network."""

    per_task: int
    """Numbers for each added task."""
    once: int = 0
    """Bytes for all tasks together: a generator, a shared adapter, a memory."""

    def bytes(self, tasks: int) -> int:
        return self.once + 4 * self.per_task * tasks


@dataclass(frozen=True)
class Row:
    """One line of the table; accuracies and forgetting in 0..1."""

    name: str
    task: float | None
    forgetting: float | None
    """Of the task scenario."""
    by_class: float | None
    size: Size
    seconds: float


# ------------------------------------------------------------------------------------------------------------ the base


def pretrain(budget: Budget, data_dir: Path, path: Path, seed: int) -> None:
    """Train the transformer on CIFAR-10 and write its `state_dict` to `path`."""
    split = hm.load("split-cifar10", data_dir=data_dir)
    stream = split.joined()
    model = hm.model_for(stream, lambda outputs: budget.net.build(stream.shape, outputs), seed=seed)
    train = hm.TrainOptions(iterations=budget.pretraining, batch_size=128, threads=1)
    optimizer = hm.OptimizerOptions(name="adamw", lr=1e-3, weight_decay=0.05, schedule="cosine")
    tested = hm.EvaluateOptions(samples=400)
    run = hm.Fit(model, stream, hm.Finetune(), train, optimizer, tested, tested_on=split)
    for _ in run:
        pass
    accuracy = [value for value in run.records.rows["class"][0] if value is not None]
    print(f"base: {sum(accuracy) / len(accuracy):.1%} of CIFAR-10, {run.records.seconds:.0f} s", flush=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(model.task_state(0), path)


class LowRank(nn.Module):
    """w ↦ w + B A, starting at w: an adapter as parameters of the network itself."""

    def __init__(self, out: int, inputs: int, rank: int) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.zeros(out, rank))
        self.a = nn.Parameter(torch.randn(rank, inputs) / math.sqrt(inputs))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.b @ self.a


def adapted(net: nn.Module, rank: int) -> nn.Module:
    """`net` with an adapter on each of the attention's matrices, under `*.parametrizations.weight.0`."""
    for name in tensors.matching(TARGETS, [path for path, _ in net.named_modules()], "module"):
        layer = net.get_submodule(name)
        if isinstance(layer, nn.Linear):
            addition = LowRank(layer.out_features, layer.in_features, rank)
            parametrize.register_parametrization(layer, "weight", addition)
    return net


# ------------------------------------------------------------------------------------------------------------ the rows


@dataclass(frozen=True)
class Setting:
    stream: Stream
    budget: Budget
    base: Path
    seed: int

    def net(self, outputs: int) -> nn.Module:
        net = self.budget.net.build(self.stream.shape, outputs)
        start_from(net, self.base)
        return net

    def with_adapter(self, outputs: int) -> nn.Module:
        return adapted(self.net(outputs), self.budget.rank)

    def fit(self, name: str, model: hm.Model, method: Method, size: Size) -> Row:
        """Train and measure."""
        budget, seed = self.budget, self.seed
        run = hm.Fit(
            model,
            self.stream,
            method,
            hm.TrainOptions(iterations=budget.steps, batch_size=64, threads=1),
            hm.OptimizerOptions(lr=2e-3),
            hm.EvaluateOptions(samples=budget.tested),
            Prototype() if model.depends_on_task else None,
            hm.Seeds(init=seed, order=seed, method=seed),
        )
        for _ in run:
            pass
        return row(name, run.records.rows, size, run.records.seconds)

    @property
    def classifier(self) -> int:
        """Numbers in the classifier of one task."""
        return len(self.stream.tasks[0].classes) * (self.budget.net.width + 1)

    @property
    def adapter(self) -> int:
        """Numbers in one stored adapter."""
        names = self.with_adapter(1).named_parameters()
        return sum(value.numel() for name, value in names if ADDED in name)

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of all that belongs to the base but its classifier."""
        names = [name for name, _ in self.with_adapter(1).named_parameters()]
        return tuple(name for name in names if ADDED not in name and not name.startswith("head"))


def row(name: str, rows: dict[str, list], size: Size, seconds: float) -> Row:
    task, by_class = (metrics.summarise(rows[scenario]) for scenario in ("task", "class"))
    return Row(
        name, task["average_accuracy"], task["forgetting"], by_class["average_accuracy"], size, seconds
    )


def nearest_mean(setting: Setting) -> Row:
    """Frozen features and class means: no training at all."""
    started, stream = time.perf_counter(), setting.stream
    model = hm.model_for(stream, setting.net)
    model.begin_task(torch.Generator())
    model.eval()

    @torch.no_grad()
    def of(part: Part, most: int | None = None) -> tuple[Tensor, Tensor]:
        found = []
        for positions in torch.arange(len(part))[:most].split(1000):
            raw, y = part.batch(positions)
            found.append((F.normalize(features(model, {}, stream.preprocess(raw), 0)[0]), y))
        return torch.cat([z for z, _ in found]), torch.cat([y for _, y in found])

    means: list[Tensor] = []
    rows: dict[str, list] = {"task": [], "class": []}
    tests = [of(task.test, setting.budget.tested) for task in stream.tasks]
    for task in stream.tasks:
        z, y = of(task.train)
        means += [F.normalize(z[y == c].mean(0), dim=0) for c in task.classes]
        scores = [z @ torch.stack(means).T for z, _ in tests[: task.index + 1]]
        answers: dict[str, list[Tensor]] = {"class": [s.argmax(1) for s in scores], "task": []}
        for known, s in zip(stream.tasks, scores, strict=False):
            own = torch.tensor(known.classes)
            answers["task"].append(own[s[:, own].argmax(1)])
        for scenario, found in answers.items():
            hits = [float((a == y).float().mean()) for a, (_, y) in zip(found, tests, strict=False)]
            rows[scenario].append(hits + [None] * (len(tests) - len(hits)))
    size = Size(len(stream.tasks[0].classes) * setting.budget.net.width)
    return row("nearest class mean", rows, size, time.perf_counter() - started)


def by_hypernetwork(setting: Setting) -> Row:
    """One generator writes the adapters of all tasks."""
    writer = replace(LoRA().generator, rank=setting.budget.rank)  # pyright: ignore[reportArgumentType]
    options = LoRA(target=("*.attn.*.weight",), generator=writer)
    model = hm.model_for(setting.stream, setting.net, options, seed=setting.seed)
    assert model.generator is not None
    once = tensors.num_bytes(dict(model.generator.named_parameters()))  # it has no task yet
    size = Size(writer.embedding + setting.classifier, once)
    return setting.fit(
        "hypernetwork", model, hm.combine(hm.Finetune(), hm.Drift(beta=setting.budget.beta)), size
    )


def per_task(setting: Setting) -> Row:
    """Every task stores its own adapter."""
    options = Plain(per_task=(f"*{ADDED}*", "head.*"), frozen=setting.frozen)
    model = hm.model_for(setting.stream, setting.with_adapter, options, seed=setting.seed)
    return setting.fit("adapter per task", model, hm.Finetune(), Size(setting.adapter + setting.classifier))


def one_adapter(setting: Setting, name: str, method: Method, memory: int = 0) -> Row:
    """One adapter and one classifier of all classes; `memory`: bytes of remembered samples."""
    model = hm.model_for(
        setting.stream, setting.with_adapter, Plain(frozen=setting.frozen), seed=setting.seed
    )
    return setting.fit(name, model, method, Size(setting.classifier, 4 * setting.adapter + memory))


def table(rows: Sequence[Row], tasks: int) -> str:
    """Markdown."""

    def share(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:.1f}"

    lines = [
        f"| | task | forgetting | class | numbers per task | bytes, {tasks} tasks | bytes, 100 tasks | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        figures = " | ".join(share(value) for value in (r.task, r.forgetting, r.by_class))
        size = f"{r.size.per_task:,} | {r.size.bytes(tasks):,} | {r.size.bytes(100):,}"
        lines.append(f"| {r.name} | {figures} | {size} | {r.seconds:.0f} |")
    return "\n".join(lines)


def measure(setting: Setting) -> Iterator[Row]:
    """The rows of the table, one after the other."""
    memory = hm.MemoryOptions(size=setting.budget.memory)
    pixels = math.prod(setting.stream.shape)
    yield nearest_mean(setting)
    yield by_hypernetwork(setting)
    yield per_task(setting)
    yield one_adapter(setting, "one adapter, fine-tuned", hm.Finetune())
    yield one_adapter(setting, "one adapter, ER", hm.ER(memory=memory), setting.budget.memory * pixels)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapters", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data-dir", type=Path, required=True, help="holds cifar10/ and cifar100/")
    parser.add_argument("--budget", choices=BUDGETS, default="short")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--base", type=Path, help="the transformer's file; made where it is not there yet")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    budget = BUDGETS[options.budget]
    base = options.base or Path("runs") / f"adapters-base-{options.budget}-{options.seed}.safetensors"
    if not base.exists():
        pretrain(budget, options.data_dir, base, options.seed)
    asked = hm.StreamOptions(tasks=budget.tasks, augment=False)
    stream = hm.load("split-cifar100", data_dir=options.data_dir, options=asked)
    rows = []
    for found in measure(Setting(stream, budget, base, options.seed)):
        print(f"{found.name}: task {found.task}, class {found.by_class}, {found.seconds:.0f} s", flush=True)
        rows.append(found)
    print(f"\n{options.budget} budget, seed {options.seed}, one CPU thread\n\n{table(rows, budget.tasks)}")


if __name__ == "__main__":
    main()
