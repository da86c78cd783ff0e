"""Tasks, the parts they view, and the stream they make: an index view of a source with a deterministic transform."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from hypermnesia.data.preprocess import Preprocess
from hypermnesia.data.sources.source import KINDS, Images
from hypermnesia.data.transforms import Code, Identity, Transform

Moved = TypeVar("Moved")


@dataclass(frozen=True)
class Target:
    """What numbers to be told are. Labels are (number − mean) / std, by the whole training part."""

    name: str
    mean: float
    std: float


@dataclass(frozen=True, eq=False)
class Part:
    """Samples `index` of `images`, each under member `code` of `transform`, labelled with global class ids.

    A part owns indices only: parts of a hundred tasks share their images, label table and transform.
    """

    images: Images
    index: Tensor
    """int64 (n,): which samples, in order."""
    labels: Tensor
    """int64 (classes of the source,): global class id of each source class, −1 for absent. Not used where labels are
    numbers: these are the images' own."""
    transform: Transform
    code: Code = 0
    """Which member of the transform: one int for all samples, or int64 (n,)."""

    def __len__(self) -> int:
        return len(self.index)

    def __repr__(self) -> str:
        return f"Part of {len(self):,} samples"

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `positions`, int64 (B,) in 0..len−1 → raw samples (B, …), class ids or numbers (B,)."""
        positions = positions.to(self.index.device)
        rows = self.index.index_select(0, positions)  # half the time of indexing, for a small batch
        code = self.code if isinstance(self.code, int) else self.code.index_select(0, positions)
        own = self.images.y.index_select(0, rows)
        labels = own if own.is_floating_point() else self.labels.index_select(0, own)
        return self.transform(self.images.x.index_select(0, rows), code), labels

    @property
    def y(self) -> Tensor:
        """Global class ids, int64 (n,), or numbers, float32 (n,); computed at each call, so that a thousand parts hold none."""
        own = self.images.y[self.index]
        return own if own.is_floating_point() else self.labels[own]

    @property
    def ids(self) -> Tensor:
        """Sample ids: rows of the source's train or test images, int64 (n,)."""
        return self.index

    @property
    def classes(self) -> tuple[int, ...]:
        """The global class ids that occur, ascending; of numbers, 0 for their one output."""
        if self.images.y.is_floating_point():
            return (0,)
        return tuple(self.y.unique().tolist())

    def subset(self, positions: Tensor) -> "Part":
        """The part of the samples at `positions`, int64 (m,), in that order."""
        positions = positions.to(self.index.device)
        code = self.code if isinstance(self.code, int) else self.code[positions]
        return replace(self, index=self.index[positions], code=code)

    def to(self, device: torch.device | str) -> "Part":
        """This part with its images on `device`; to move a whole stream once use `Stream.to`."""
        code = self.code if isinstance(self.code, int) else self.code.to(device)
        return Part(
            self.images.to(device),
            self.index.to(device),
            self.labels.to(device),
            self.transform.to(device),
            code,
        )


@dataclass(frozen=True, eq=False)
class Task:
    """What is learned between two boundaries of a stream.

    `classes`: the global class ids that its training samples have, in the order of the task's own outputs.
    `validation`: cut from train on request only; nothing is ever selected on test.
    """

    index: int
    name: str
    classes: tuple[int, ...]
    train: Part
    test: Part
    validation: Part | None = None

    def __repr__(self) -> str:
        told = "numbers" if self.train.images.y.is_floating_point() else f"{len(self.classes)} classes"
        cut = "" if self.validation is None else f", {len(self.validation):,} for validation"
        return (
            f"Task {self.index} ({self.name}): {told}, {len(self.train):,} samples, "
            f"{len(self.test):,} for tests{cut}"
        )


@dataclass(frozen=True, eq=False)
class Stream:
    """Tasks over one source. Global class ids number the classes in the order in which the tasks bring them.

    So task 0 of a split stream has the classes 0, 1, ... whatever order a seed has chosen, and
    `class_names[id]` tells which class of the source that is.
    """

    name: str
    tasks: tuple[Task, ...]
    class_names: tuple[str, ...]
    preprocess: Preprocess
    tests: tuple[Part, ...]
    """Evaluation sets, one per task (`tests[i] is tasks[i].test`) or, where classes return, per class."""
    source_sha256: str
    """`Source.sha256` of the data."""
    boundaries: bool = True
    """False: the learner may not know where a task ends; tasks are then mere chunks."""
    shared_labels: bool = False
    """Every task has the same classes in other guise (domain-incremental)."""
    ordered: bool = False
    """True: training samples are meant to be seen in the order of their part, without shuffling."""
    target: Target | None = None
    """What the numbers are where labels are numbers: the tasks then share one class, 0, which stands for the one output."""

    def __repr__(self) -> str:
        """The stream in a line, and a line for each task: the middle of many is left out."""
        shape = "×".join(map(str, self.shape))
        told = f"{self.num_classes} classes" if self.target is None else f"numbers ({self.target.name})"
        head = f"Stream {self.name}: {len(self.tasks)} tasks, {told}, {self.kind} of {shape}"
        lines = [f"  {task!r}" for task in self.tasks]
        return "\n".join([head, *(lines if len(lines) <= 10 else [*lines[:7], "  …", *lines[-2:]])])

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a sample after the stream's transform: (C, H, W), (L,) for tokens, (F,) for vectors."""
        part = self.tasks[0].train
        return part.transform.shape(tuple(part.images.x.shape[1:]))

    @property
    def dtype(self) -> torch.dtype:
        """Of raw samples, and so their kind: uint8 images, int64 tokens, float32 vectors."""
        return self.tasks[0].train.images.x.dtype

    @property
    def kind(self) -> str:
        """`"images"`, `"texts"` or `"vectors"`."""
        return KINDS[self.dtype]

    def joined(self) -> "Stream":
        """All tasks as one, as joint training sees them; `tests` unchanged."""
        test = concatenate([task.test for task in self.tasks])
        cuts = [task.validation for task in self.tasks if task.validation is not None]
        task = Task(
            0,
            "all tasks",
            tuple(sorted({c for task in self.tasks for c in task.classes})),
            concatenate([task.train for task in self.tasks]),
            test,
            concatenate(cuts) if cuts else None,
        )
        return replace(self, name=f"{self.name} (joined)", tasks=(task,), ordered=False)

    def to(self, device: torch.device | str) -> "Stream":
        """The stream with all tensors on `device`; what parts share is moved once and stays shared."""
        moved: dict[int, Any] = {}

        def once(value: Moved, move: Callable[[Moved], Moved]) -> Moved:
            if id(value) not in moved:
                moved[id(value)] = move(value)
            return moved[id(value)]

        def tensor(value: Tensor) -> Tensor:
            return once(value, lambda v: v.to(device))

        def part(value: Part) -> Part:
            return Part(
                once(value.images, lambda v: v.to(device)),
                tensor(value.index),
                tensor(value.labels),
                once(value.transform, lambda v: v.to(device)),
                value.code if isinstance(value.code, int) else tensor(value.code),
            )

        tasks = tuple(
            replace(
                task,
                train=once(task.train, part),
                test=once(task.test, part),
                validation=None if task.validation is None else once(task.validation, part),
            )
            for task in self.tasks
        )
        return replace(self, tasks=tasks, tests=tuple(once(test, part) for test in self.tests))

    def manifest(self) -> dict[str, Any]:
        """A JSON-able account of the data: content, sample ids, labels, transforms and preprocessing.

        It holds no path and no name of a benchmark: equal data give equal manifests wherever they lie.
        """
        digests: dict[tuple[int, int, int], dict[str, str]] = {}

        def account(part: Part) -> dict[str, Any]:
            key = id(part.images), id(part.index), id(part.labels)
            if key not in digests:
                digests[key] = {"ids": _sha256(part.ids), "labels": _sha256(part.y)}
            code = part.code if isinstance(part.code, int) else _sha256(part.code)
            return {"samples": len(part), **digests[key], "code": code}

        return {
            "format": 1,
            "source": self.source_sha256,
            "class_names": list(self.class_names),
            "shape": list(self.shape),
            "transform": self.tasks[0].train.transform.describe(),
            "preprocess": _as_json(self.preprocess),
            "boundaries": self.boundaries,
            "ordered": self.ordered,
            "tasks": [
                {
                    "name": task.name,
                    "classes": list(task.classes),
                    "train": account(task.train),
                    "test": account(task.test),
                    "validation": None if task.validation is None else account(task.validation),
                }
                for task in self.tasks
            ],
            "tests": [account(test) for test in self.tests],
        } | ({} if self.target is None else {"target": asdict(self.target)})

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of `manifest()`: equal for two runs that saw the same data."""
        text = json.dumps(self.manifest(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def network_input(
    part: Any, positions: Tensor, raw: Tensor, preprocess: Preprocess, rng: torch.Generator | None
) -> Tensor:
    """What a network sees of the samples at `positions` (B,) of `part`, whose `batch` gave `raw`: augmented where there is a
    generator, before a transform that comes last."""
    last = isinstance(part, Part) and getattr(part.transform, "last", False)
    if rng is None or not last or not preprocess.draws:
        return preprocess(raw, rng)
    whole = replace(part, transform=Identity()).batch(positions)[0]
    code = part.code if isinstance(part.code, int) else part.code[positions.to(part.index.device)]
    return preprocess(part.transform(preprocess.augment(whole, rng), code))


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()


def _as_json(preprocess: Preprocess) -> dict[str, Any]:
    repainted = {name: value for name in ("jitter", "autoaugment") if (value := getattr(preprocess, name))}
    return {
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "crop": preprocess.crop,
        "flip": preprocess.flip,
        **repainted,
    }


def concatenate(parts: Sequence[Part]) -> Part:
    """All samples of `parts` as one part; they must view the same images under the same transform."""
    first = parts[0]
    for part in parts:
        if part.images is not first.images or part.transform is not first.transform:
            raise ValueError("concatenate: the parts view different images or transforms")
    index = torch.cat([part.index for part in parts])
    codes = {part.code for part in parts if isinstance(part.code, int)}
    if len(codes) == 1 and all(isinstance(part.code, int) for part in parts):
        return replace(first, index=index, code=codes.pop())
    return replace(first, index=index, code=torch.cat([_spread(part) for part in parts]))


def _spread(part: Part) -> Tensor:
    """The part's codes sample by sample, int64 (n,)."""
    if isinstance(part.code, int):
        return torch.full_like(part.index, part.code)
    return part.code
