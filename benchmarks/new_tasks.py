"""New tasks from a few samples: a hypernetwork that reads them, beside what needs steps and what has a closed form.

    python -m benchmarks.new_tasks select --data-dir data [--seeds 0,1,2] [--only "read codes"]
    python -m benchmarks.new_tasks cifar --shots 5 --data-dir data [--seeds 0,1] [--only "read codes"]
    python -m benchmarks.new_tasks rotated --data-dir data
    python -m benchmarks.new_tasks hundred --data-dir data

`cifar`: CIFAR-100 as features of a frozen EfficientNet-Lite0 (96 pixels), 60 base classes with all their images, then 8 tasks
of 5 classes with `--shots` images each. `select`: what the settings of its rows were chosen by, without any test image: of the
60 base classes of each order 40 are learned and 4 tasks of 5 are new, and a tenth of the training images is asked about.
`rotated`: MNIST under 40 angles in 0..180 degrees, 2,000 images of each, the last 30 only read; `hundred`: under 100, 1,000 of
each, 90 only read.
Prints a Markdown table of means ± standard deviations over seeds (class orders): accuracies in percent after the last task,
seconds and stored bytes of a new task.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import mean, stdev

import torch

import hypermnesia as hm
from hypermnesia.core.rng import generator
from hypermnesia.core.trees import flat
from hypermnesia.data import Stream, Task
from hypermnesia.data.build import few_shot
from hypermnesia.evaluation.metrics import forgetting
from hypermnesia.experiments.build import assemble
from hypermnesia.experiments.resolve import Config
from hypermnesia.methods.learner import Batch, Learner, Net, Phase
from hypermnesia.methods.meta_hnet import EPISODES, MetaHNet
from hypermnesia.training import reading
from hypermnesia.training.events import TaskEnded
from hypermnesia.training.loop import Fit

FEATURES = (
    "stream.features=pretrained",
    "stream.features_size=96",
    "stream.normalize=standard",
    "train.threads=1",
)
INCREMENTS = ("stream.tasks=9", "stream.classes_per_task=[60,5]", "stream.order=seed")
READ = ("train.iterations=60", "train.batch_size=512", "optimizer.lr=0.0001", "generator.support=500")
STEPS = ("net=mlp", "net.hidden=[]", "train.iterations=200", "train.batch_size=25")
SMALL = ("generator.embedding=64", "generator.hidden=[256]", "generator.init=plain")
LONGER = ("train.iterations=300", "train.batch_size=512")
WRITER = ("generator=classwise", "infer=logit")
CIFAR: dict[str, tuple[str, ...]] = {
    "nearest mean": ("ncm",),
    "slda": ("slda",),
    "ridge": ("ridge",),
    "stored heads, 200 steps": ("separate", *STEPS, "infer=logit"),
    "free codes, 200 steps": ("hnet", *STEPS, *WRITER, *SMALL[:2]),
    "read codes: prototypes": ("meta-hnet", *READ),
    "read codes: set": ("meta-hnet", *READ, "generator.condition=set"),
    "read codes: prototypes, then 20 steps": ("meta-hnet", *READ, "method.later=20"),
    "read codes: set of 64 numbers": ("meta-hnet", *LONGER, "generator.condition=set", *SMALL),
}
GRIDS: dict[str, dict[str, tuple[object, ...]]] = {
    "read codes: prototypes": {
        "train.iterations": (60, 240),
        "optimizer.lr": (1e-4, 3e-4, 1e-3),
        "generator.init": ("nearest-mean", "plain"),
    },
    "stored heads, 200 steps": {"optimizer.lr": (0.003, 0.01, 0.03, 0.1)},
    "read codes: set of 64 numbers": {"optimizer.lr": (3e-4, 1e-3, 3e-3)},
    "ridge": {"method.strength": (1e-4, 1e-3, 1e-2, 1e-1)},
    "free codes, 200 steps": {"optimizer.lr": (3e-4, 1e-3, 3e-3)},
}
"""What `select` tries of a row."""
WITHIN = ("stream.tasks=5", "stream.classes_per_task=[40,5]", "stream.order=seed", "stream.validation=0.1")

TURNS = (
    *("stream.tasks=40", "stream.samples_per_task=2000", "net.hidden=[50]", "evaluate.samples=500"),
    *("train.iterations=150", "train.batch_size=100", "train.threads=1", "evaluate.scenarios=[task]"),
)
BASE = 10
"""Angles that are trained on."""
CHUNKS = ("generator=chunked", "generator.compression=1", "generator.embedding=8")
READING = ("meta-hnet", *CHUNKS, "generator.encoder=[32]", f"method.base_tasks={BASE}", "infer=entropy")
BOUND = "read codes: set, all base angles at once"
"""Episodes of all base angles by turns at random, and no penalty: what reading could bring at best."""
ROTATED = {
    "a network for each task": ("separate",),
    "free codes": ("hnet", *CHUNKS),
    "read codes: set": (*READING, "generator.condition=set"),
    "read codes: set, held 0.1": (*READING, "generator.condition=set", "method.hold=0.1"),
    "read codes: set, held 1": (*READING, "generator.condition=set", "method.hold=1"),
    "read codes: set, held 10": (*READING, "generator.condition=set", "method.hold=10"),
    BOUND: (*READING, "generator.condition=set", "drift=none"),
    "read codes: set, no penalty": (*READING, "generator.condition=set", "drift=none"),
    "read codes: prototypes": (*READING, "generator.condition=prototypes"),
}
HUNDRED = ("stream.tasks=100", "stream.samples_per_task=1000", "evaluate.samples=200")
OF_HUNDRED = ("read codes: set", "read codes: set, held 0.1")
COLUMNS = (
    "all",
    "base",
    "new",
    "new, task given",
    "base, read again",
    "forgotten",
    "seconds",
    "bytes",
    "bytes in all",
)


def measured(run: Fit, base: int) -> dict[str, float]:
    """What the run ends with. Its first `base` tasks are not new ones."""
    seconds, sizes = [], []
    for event in run:
        if isinstance(event, TaskEnded):
            seconds.append(event.seconds)
            sizes.append(stored(run))
    rows, classes = run.records.rows, [len(task.classes) for task in run.stream.tasks]
    whole = rows.get("class") or rows["task"]
    shares = [count / sum(classes) for count in classes]
    found = {
        "all": sum(share * (accuracy or 0) for share, accuracy in zip(shares, whole[-1], strict=True)),
        "base": _mean(whole[-1][:base]),
        "new": _mean(whole[-1][base:]),
        "new, task given": _mean(rows["task"][-1][base:]) if "task" in rows else float("nan"),
        "base, read again": _read_again(run, base),
        "forgotten": forgetting(rows.get("task") or whole) or 0.0,
    }
    new = len(classes) - base
    return {name: 100 * value for name, value in found.items()} | {
        "seconds": (seconds[-1] - seconds[base - 1]) / new,
        "bytes": (sizes[-1] - sizes[base - 1]) / new,
        "bytes in all": sizes[-1],
    }


def _read_again(run: Fit, base: int) -> float:
    """Accuracy of the first tasks, each given, at codes that the encoder of the end reads from their samples."""
    learner, writer = run.learner, run.learner.model.generator
    if writer is None or writer.reader is None or base == 1:
        return float("nan")
    return mean(_of_code_read_now(learner, task) for task in run.stream.tasks[:base])


def _of_code_read_now(learner: Learner, task: Task) -> float:
    """Accuracy of 500 test samples, the task given, at a code that is read from its training samples now."""
    reading.read(learner, task)
    raw, y = task.test.batch(torch.arange(500))
    return (learner.answer(raw, task.index).classes == y).float().mean().item()


def at_once(cfg: Config, stream: Stream, seed: int) -> dict[str, float]:
    """Accuracies of codes read after as many episodes as one after another, each of a base angle drawn at random."""
    run = assemble(cfg, stream, seed)
    learner, method, rng = run.learner, MetaHNet(base_tasks=BASE), generator(seed, "episodes")
    for _ in stream.tasks:
        run.grow(learner.model)
    learner.task, learner.phase = len(stream.tasks) - 1, Phase(EPISODES)
    optimizer = torch.optim.Adam(learner.model.trainable().values(), cfg.sections["optimizer"].lr)
    steps, size = BASE * cfg.sections["train"].iterations, cfg.sections["train"].batch_size
    for _ in range(steps):
        task = stream.tasks[int(torch.randint(BASE, (), generator=rng))]
        raw, y = task.train.batch(torch.randint(len(task.train), (size,), generator=rng))
        x, target = learner.preprocess(raw, rng), learner.targets(y, task.index)
        batch = Batch(x, y, target, task.index, raw)
        loss, _ = method.loss(Net(learner.model), None, batch, method.draw(None, learner, batch, rng))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = [100 * _of_code_read_now(learner, task) for task in stream.tasks]
    return {"all": mean(found), "base": mean(found[:BASE]), "new": mean(found[BASE:])}


def _mean(accuracies: Sequence[float | None]) -> float:
    return mean(value for value in accuracies if value is not None)


def stored(run: Fit) -> int:
    """Bytes of the values of its networks and of what the inference has gathered; sums of a closed form are not among them."""
    learner = run.learner
    tensors = [*learner.model.stored().values(), *flat(learner.inference_state).leaves]
    return sum(value.numel() * value.element_size() for value in tensors)


def held_out(stream: Stream, shots: int, seed: int) -> Stream:
    """The stream tested on its validation parts, of new classes `shots` images each: its test images are gone."""
    tasks = [replace(task, test=task.validation or task.train, validation=None) for task in stream.tasks]
    tested = replace(stream, tasks=tuple(tasks), tests=tuple(task.test for task in tasks))
    return few_shot(tested, shots, seed)


def select(seeds: Sequence[int], shots: int, data_dir: Path, only: str) -> None:
    """Print what every setting of `GRIDS` brings on validation images of base classes, of each row the best first."""
    common = (*FEATURES, *WITHIN, "evaluate.every=end", "evaluate.scenarios=[class]")
    cfg = hm.resolve("split-cifar100", "ncm", common)
    streams = {seed: held_out(hm.build(cfg, seed, data_dir).stream, shots, seed) for seed in seeds}
    print("| | settings | all | base | new |\n|---|---|---|---|---|", flush=True)
    for name, grid in GRIDS.items():
        if not name.startswith(only):
            continue
        found = {}
        for values in product(*grid.values()):
            words = [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
            cfg = hm.resolve("split-cifar100", CIFAR[name][0], _over((*CIFAR[name][1:], *common), words))
            found[" ".join(words)] = [
                measured(assemble(cfg, stream, seed), 1) for seed, stream in streams.items()
            ]
        for words, of in sorted(found.items(), key=lambda row: -mean(m["all"] for m in row[1])):
            print(f"| {name} | `{words}` | " + _cells(of, ("all", "base", "new")) + " |", flush=True)


def _over(words: Sequence[str], others: Sequence[str]) -> list[str]:
    """`words` with `others` in place of those of the same key."""
    keys = {word.partition("=")[0] for word in others}
    return [*(word for word in words if word.partition("=")[0] not in keys), *others]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["select", "cifar", "rotated", "hundred"])
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if given.what == "select":
        return select(seeds, given.shots, given.data_dir, given.only)
    if given.what == "cifar":
        common, base = (*FEATURES, *INCREMENTS, f"stream.shots={given.shots}"), 1
        benchmark, rows = "split-cifar100", CIFAR
    else:
        hundred = given.what == "hundred"
        common, base = _over(TURNS, HUNDRED if hundred else ()), BASE
        benchmark, rows = (
            "rotated-mnist",
            {name: ROTATED[name] for name in OF_HUNDRED} if hundred else ROTATED,
        )
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|", flush=True)
    approach, *more = next(iter(rows.values()))
    cfg = hm.resolve(benchmark, approach, (*more, *common))
    streams = {seed: hm.build(cfg, seed, given.data_dir).stream for seed in seeds}
    for name, words in rows.items():
        if name.startswith(given.only):
            cfg = hm.resolve(benchmark, words[0], (*words[1:], *common))
            found = [
                at_once(cfg, stream, seed) if name == BOUND else measured(assemble(cfg, stream, seed), base)
                for seed, stream in streams.items()
            ]
            print(f"| {name} | {_cells(found, COLUMNS)} |", flush=True)


def _cells(found: Sequence[Mapping[str, float]], columns: Sequence[str]) -> str:
    return " | ".join(_shown(column, [one.get(column, float("nan")) for one in found]) for column in columns)


def _shown(column: str, values: Sequence[float]) -> str:
    middle = mean(values)
    sizes = column.startswith("bytes")
    if middle != middle or (sizes and not middle):
        return ""
    if sizes or column == "seconds":
        return f"{middle:,.0f}" if sizes else f"{middle:.2f}"
    return f"{middle:.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
