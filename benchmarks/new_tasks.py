"""New tasks from a few samples: a hypernetwork that reads them, beside what needs steps and what has a closed form.

    python -m benchmarks.new_tasks cifar --shots 5 --data-dir data [--seeds 0,1] [--only meta-hnet]
    python -m benchmarks.new_tasks rotated --data-dir data

`cifar`: CIFAR-100 as features of a frozen EfficientNet-Lite0 (96 pixels), 60 base classes with all their images, then 8 tasks
of 5 classes with `--shots` images each. `rotated`: MNIST under 40 angles in 0..180 degrees, 2,000 images of each, the last 30
only read.
Prints a Markdown table of means over seeds: accuracies in percent after the last task, seconds and stored bytes of a new task.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import torch

import hypermnesia as hm
from hypermnesia.core.trees import flat
from hypermnesia.evaluation.metrics import forgetting
from hypermnesia.experiments.build import assemble
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

TURNS = (
    *("stream.tasks=40", "stream.samples_per_task=2000", "net.hidden=[50]", "evaluate.samples=500"),
    *("train.iterations=150", "train.batch_size=100", "train.threads=1", "evaluate.scenarios=[task]"),
)
BASE = 10
"""Angles that are trained on."""
CHUNKS = ("generator=chunked", "generator.compression=1", "generator.embedding=8")
READING = ("meta-hnet", *CHUNKS, "generator.encoder=[32]", f"method.base_tasks={BASE}", "infer=entropy")
ROTATED = {
    "a network for each task": ("separate",),
    "free codes": ("hnet", *CHUNKS),
    "read codes: set": (*READING, "generator.condition=set"),
    "read codes: set, no penalty": (*READING, "generator.condition=set", "drift=none"),
    "read codes: prototypes": (*READING, "generator.condition=prototypes"),
}
COLUMNS = ("all", "base", "new", "new, task given", "base, read again", "forgotten", "seconds", "bytes")


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
    }


def _read_again(run: Fit, base: int) -> float:
    """Accuracy of the first tasks, each given, at codes that the encoder of the end reads from their samples."""
    learner, writer = run.learner, run.learner.model.generator
    if writer is None or writer.reader is None or base == 1:
        return float("nan")
    found = []
    for task in run.stream.tasks[:base]:
        reading.read(learner, task)
        raw, y = task.test.batch(torch.arange(500))
        found.append((learner.answer(raw, task.index).classes == y).float().mean().item())
    return mean(found)


def _mean(accuracies: Sequence[float | None]) -> float:
    return mean(value for value in accuracies if value is not None)


def stored(run: Fit) -> int:
    """Bytes of the values of its networks and of what the inference has gathered; sums of a closed form are not among them."""
    learner = run.learner
    tensors = [*learner.model.stored().values(), *flat(learner.inference_state).leaves]
    return sum(value.numel() * value.element_size() for value in tensors)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["cifar", "rotated"])
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    given = parser.parse_args()
    if given.what == "cifar":
        common, base = (*FEATURES, *INCREMENTS, f"stream.shots={given.shots}"), 1
        benchmark, rows = "split-cifar100", CIFAR
    else:
        common, base, benchmark, rows = TURNS, BASE, "rotated-mnist", ROTATED
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|")
    seeds = [int(seed) for seed in given.seeds.split(",")]
    approach, *more = next(iter(rows.values()))
    cfg = hm.resolve(benchmark, approach, (*more, *common))
    streams = {seed: hm.build(cfg, seed, given.data_dir).stream for seed in seeds}
    for name, words in rows.items():
        if name.startswith(given.only):
            cfg = hm.resolve(benchmark, words[0], (*words[1:], *common))
            found = [measured(assemble(cfg, stream, seed), base) for seed, stream in streams.items()]
            print(
                f"| {name} | " + " | ".join(_shown(c, mean(f[c] for f in found)) for c in COLUMNS) + " |",
                flush=True,
            )


def _shown(column: str, value: float) -> str:
    if value != value or (column == "bytes" and not value):
        return ""
    return f"{value:,.0f}" if column == "bytes" else f"{value:.2f}" if column == "seconds" else f"{value:.1f}"


if __name__ == "__main__":
    main()
