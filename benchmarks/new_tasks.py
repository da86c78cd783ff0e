"""New tasks from a few samples: a hypernetwork that reads them, beside what needs steps and what has a closed form.

    python -m benchmarks.new_tasks select --data-dir data [--seeds 0,1,2] [--only "read codes"]
    python -m benchmarks.new_tasks select-angles --data-dir data [--only "read codes"]
    python -m benchmarks.new_tasks cifar --shots 5 --data-dir data [--seeds 0,1] [--only "read codes"]
    python -m benchmarks.new_tasks convnet --shots 5 --data-dir data [--seeds 0,1]
    python -m benchmarks.new_tasks adapters --shots 6 --data-dir data [--seeds 0,1]
    python -m benchmarks.new_tasks rotated --data-dir data
    python -m benchmarks.new_tasks hundred --data-dir data

`cifar`: CIFAR-100 as features of a frozen EfficientNet-Lite0 (96 pixels), 60 base classes with all their images, then 8 tasks
of 5 classes with `--shots` images each. `select`: what the settings of its rows were chosen by, without any test image: of the
60 base classes of each order 40 are learned and 4 tasks of 5 are new, and a tenth of the training images is asked about.
`convnet`: the same on features of a network of four blocks that is trained on the 60 base classes first, and then rests.
`adapters`: the same on the frozen EfficientNet, with a bottleneck of its own for each task behind it.
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
from hypermnesia.experiments.features import Features, through
from hypermnesia.experiments.resolve import Config
from hypermnesia.methods.learner import Batch, Learner, Net, Phase
from hypermnesia.methods.meta_hnet import EPISODES, MetaHNet
from hypermnesia.nets import section
from hypermnesia.nets.backbones import Backbone, weights_sha256
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
    "ranpac": ("ranpac", "evaluate.every=end"),
    "stored heads, 200 steps": ("separate", *STEPS, "infer=logit"),
    "free codes, 200 steps": ("hnet", *STEPS, *WRITER, *SMALL[:2]),
    "free codes, to the end": ("hnet", *STEPS, *WRITER, *SMALL[:2], "train.iterations=600"),
    "read codes: prototypes": ("meta-hnet", *READ),
    "read codes: set": ("meta-hnet", *READ, "generator.condition=set"),
    "read codes: prototypes, then 20 steps": ("meta-hnet", *READ, "method.later=20"),
    "read codes: set by attention": ("meta-hnet", *READ, "generator.condition=set", "generator.queries=4"),
    "read codes: set of 64 numbers": ("meta-hnet", *LONGER, "generator.condition=set", *SMALL),
    "read codes: prototypes of 64 numbers": ("meta-hnet", *LONGER, *SMALL),
}
CONVNET = (
    *("nearest mean", "slda", "ridge", "stored heads, 200 steps"),
    *("read codes: prototypes", "read codes: prototypes, then 20 steps"),
)
"""Rows of `CIFAR` that are run on its features."""
HERE = (
    *("net=convnet", "net.width=32", "train.epochs=3", "train.iterations=none", "train.batch_size=64"),
    *("optimizer.name=adam", "optimizer.lr=0.003", "optimizer.schedule=cosine", "stream.augment=true"),
    *("stream.first_tasks=1", "evaluate.every=end", "train.threads=1"),
)
"""How that network is trained on its 60 classes."""
BOTTLENECK = ("net=bottleneck", "net.width=16", "infer=logit")
TRAINED = ("train.epochs=3", "train.iterations=none", "optimizer.name=adam", "optimizer.lr=0.001")
WRITTEN = (
    *("meta-hnet", *READ, *BOTTLENECK, "weights=lora", "weights.generated=[head.*]", "generator=classwise"),
    *("generator.condition=prototypes", "generator.init=zero", "generator.context=[8]", "method.ways=5"),
)
ADAPTERS: dict[str, tuple[str, ...]] = {
    "adapter and head of its own, all images": ("separate", *BOTTLENECK, *TRAINED, "stream.shots=500"),
    "adapter and head of its own": ("separate", *BOTTLENECK, *TRAINED, "train.epochs=30"),
    "head read": ("meta-hnet", *READ),
    "head read, five ways": ("meta-hnet", *READ, "method.ways=5"),
    "adapter and head read": WRITTEN,
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
    "head read, five ways": {"train.iterations": (60, 240), "optimizer.lr": (1e-4, 3e-4)},
    "adapter and head read": {"train.iterations": (60, 240), "optimizer.lr": (1e-4, 1e-3)},
}
"""What `select` tries of a row."""
ANGLES: dict[str, dict[str, tuple[object, ...]]] = {
    "read codes: set, held 0.1": {
        "method.rehearse": (0.0, 1.0),
        "drift.beta": (0.01, 0.1, 1.0),
    },
    "read codes: set, held and rehearsed": {
        "method.hold_samples": (30,),
        "drift.beta": (0.01, 0.1),
    },
}
"""The same of angles, ten learned and twenty read."""
WITHIN = ("stream.tasks=5", "stream.classes_per_task=[40,5]", "stream.order=seed", "stream.validation=0.1")

TURNS = (
    *("net=mlp", "net.hidden=[50]"),
    *("stream.tasks=40", "stream.samples_per_task=2000", "evaluate.samples=500"),
    *("train.iterations=150", "train.batch_size=100", "train.threads=1", "evaluate.scenarios=[task]"),
)
BASE = 10
"""Angles that are trained on."""
CHUNKS = ("generator=chunked", "generator.compression=1", "generator.embedding=8")
READING = ("meta-hnet", *CHUNKS, "generator.encoder=[32]", f"method.base_tasks={BASE}", "infer=entropy")
BOUND = "read codes: set, all base angles at once"
"""Episodes of all base angles by turns at random, and no penalty: what reading could bring at best."""
BLOCKS = ("net=convnet", "net.blocks=3", "net.width=16", "net.norm=none")
ROTATED = {
    "a network for each task": ("separate",),
    "a ConvNet for each task": ("separate", *BLOCKS),
    "free codes": ("hnet", *CHUNKS),
    "read codes: set": (*READING, "generator.condition=set"),
    "read codes: set, held 0.1": (*READING, "generator.condition=set", "method.hold=0.1"),
    "read codes: set, held 1": (*READING, "generator.condition=set", "method.hold=1"),
    "read codes: set, held 10": (*READING, "generator.condition=set", "method.hold=10"),
    "read codes: set, held and rehearsed": (
        *(
            *READING,
            "generator.condition=set",
            "method.hold=0.1",
            "method.rehearse=1",
            "method.hold_samples=30",
            "drift.beta=0.1",
        ),
    ),
    BOUND: (*READING, "generator.condition=set", "drift=none"),
    "read codes: set, no penalty": (*READING, "generator.condition=set", "drift=none"),
    "read codes: prototypes": (*READING, "generator.condition=prototypes"),
    "read codes of a ConvNet: set, held 0.1": (
        *(*READING, "generator.condition=set", "method.hold=0.1"),
        *BLOCKS,
    ),
}
HUNDRED = ("stream.tasks=100", "stream.samples_per_task=1000", "evaluate.samples=200")
FEWER = (
    "stream.first_tasks=30",
    "stream.samples_per_task=1300",
    "stream.validation=0.25",
    "evaluate.samples=500",
)
OF_HUNDRED = ("read codes: set", "read codes: set, held 0.1", "read codes: set, held and rehearsed")
COLUMNS = (
    "all",
    "base",
    "new",
    "new, task given",
    "base, read again",
    "forgotten",
    "forgotten, of learned",
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
        "forgotten": (forgot := forgetting(rows.get("task") or whole) or 0.0),
        "forgotten, of learned": forgot * (len(classes) - 1) / base if base > 1 else float("nan"),
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
    raw, y = task.test.batch(torch.arange(min(500, len(task.test))))
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


def held_out(stream: Stream) -> Stream:
    """The stream tested on its validation parts: its test images are gone."""
    tasks = [replace(task, test=task.validation or task.train, validation=None) for task in stream.tasks]
    return replace(stream, tasks=tuple(tasks), tests=tuple(task.test for task in tasks))


def select(angles: bool, seeds: Sequence[int], shots: int, data_dir: Path, only: str) -> None:
    """Print what every setting of `GRIDS`, or of `ANGLES`, brings on validation images, of each row the best first."""
    common, rows, base = (
        (*FEATURES, *WITHIN, "evaluate.every=end", "evaluate.scenarios=[class]"),
        CIFAR | ADAPTERS,
        1,
    )
    benchmark, grids, shown = "split-cifar100", GRIDS, ("all", "base", "new")
    if angles:
        common = _last(*TURNS, *HUNDRED, *FEWER)
        benchmark, rows, grids, base = "rotated-mnist", ROTATED, ANGLES, BASE
        shown = ("base", "new", "forgotten, of learned", "bytes in all")
    options = hm.resolve(benchmark, "finetune", common).sections["stream"]
    streams = {}
    for seed in seeds:
        stream = held_out(
            hm.load(benchmark, data_dir=data_dir, seed=seed, options=options, through=through(options))
        )
        streams[seed] = stream if angles else few_shot(stream, shots, seed)
    print("| | settings | " + " | ".join(shown) + " |\n|---|---" + "|---" * len(shown) + "|", flush=True)
    for name, grid in grids.items():
        if not name.startswith(only):
            continue
        found = {}
        for values in product(*grid.values()):
            words = [f"{key}={value}" for key, value in zip(grid, values, strict=True)]
            cfg = hm.resolve(benchmark, rows[name][0], _last(*rows[name][1:], *common, *words))
            found[" ".join(words)] = [
                measured(assemble(cfg, stream, seed), base) for seed, stream in streams.items()
            ]
            print(f"| {name} | `{' '.join(words)}` | {_cells(found[' '.join(words)], shown)} |", flush=True)


def trained_here(seed: int, data_dir: Path) -> Features:
    """A network that has learned the 60 base classes of that order and rests, without its classifier."""
    cfg = hm.resolve("split-cifar100", "finetune", (*HERE, *INCREMENTS))
    run = hm.build(cfg, seed, data_dir)
    for _ in run:
        pass
    [[accuracy]] = next(iter(run.records.rows.values()))
    print(f"order {seed}: {100 * (accuracy or 0):.1f} of the base classes", flush=True)
    net = section(run.learner.model.target, last="flatten").eval().requires_grad_(False)
    pixels = run.stream.preprocess
    return Features(
        Backbone("convnet", net, 32, pixels.mean, pixels.std, weights_sha256("convnet", net))  # pyright: ignore[reportArgumentType]
    )


def _last(*words: str) -> list[str]:
    """Of words for the same key the last, without those of a network whose place another one takes."""
    nets = [i for i, word in enumerate(words) if word.startswith("net=")]
    kept = [
        word for i, word in enumerate(words) if not (word.startswith("net.") and i < max(nets, default=0))
    ]
    return list({word.partition("=")[0]: word for word in kept}.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", choices=["select", "select-angles", "cifar", "convnet", "adapters", "rotated", "hundred"]
    )
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    if given.what.startswith("select"):
        return select(given.what == "select-angles", seeds, given.shots, given.data_dir, given.only)
    common, base, benchmark = (*FEATURES, *INCREMENTS, f"stream.shots={given.shots}"), 1, "split-cifar100"
    rows = {"cifar": CIFAR, "adapters": ADAPTERS}.get(given.what, ROTATED)
    if given.what == "convnet":
        common, rows = common[2:], {name: CIFAR[name] for name in CONVNET}
    if given.what in ("rotated", "hundred"):
        common, base, benchmark = TURNS, BASE, "rotated-mnist"
    if given.what == "hundred":
        common, rows = (*TURNS, *HUNDRED), {name: ROTATED[name] for name in OF_HUNDRED}
    networks = {seed: trained_here(seed, given.data_dir) for seed in seeds if given.what == "convnet"}
    print("| | " + " | ".join(COLUMNS) + " |\n|---" + "|---" * len(COLUMNS) + "|", flush=True)
    streams: dict[tuple[str, int], Stream] = {}
    for name, words in rows.items():
        if not name.startswith(given.only):
            continue
        cfg = hm.resolve(benchmark, words[0], _last(*common, *words[1:]))
        found = []
        for seed in seeds:
            options = cfg.sections["stream"]
            key = str(options.shots), seed
            if key not in streams:
                seen = networks.get(seed) or through(options)
                streams[key] = hm.load(
                    benchmark, data_dir=given.data_dir, seed=seed, options=options, through=seen
                )
            found.append(
                at_once(cfg, streams[key], seed)
                if name == BOUND
                else measured(assemble(cfg, streams[key], seed), base)
            )
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
