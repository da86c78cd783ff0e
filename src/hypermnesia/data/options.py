"""What a user may ask of a stream, beside its name."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from hypermnesia.core.declared import Checked, Count, Fraction, Natural, OneOrMore
from hypermnesia.core.errors import HypermnesiaError

Targets = Literal["classification", "regression"]
"""What is told of a sample: its class, or a number."""
Normalize = Literal["unit", "standard", "imagenet"]
Interpolation = Literal["nearest", "bilinear"]
AutoAugment = Literal["cifar10"]
Between = Annotated[float, Gt(0), Lt(1)]


@dataclass(frozen=True, kw_only=True)
class StreamOptions(Checked, section="stream"):
    """Every field may be None: the benchmark's own value, or none where it has none."""

    tasks: Count | None = None
    """Tasks, ≥ 1."""
    task: Targets | None = None
    """What is told of a sample of your own data: its class ("classification"), or a number ("regression")."""
    feature: Natural | None = None
    """Of a regression on vectors: the feature, counted from 0, by which samples are cut into tasks, as many in each; none =
    in the order of their rows."""
    classes_per_task: Count | OneOrMore | None = None
    """Classes of a task (slots of a task where classes repeat), ≥ 1; or a list with those of each task, such as
    [50,10,10], whose last number stands for all further tasks."""
    order: Literal["label", "seed"] | tuple[Natural, ...] | None = None
    """Order of the classes: "label", "seed" (shuffled by the stream's seed), or the class ids themselves."""
    size: Annotated[Count, Le(4096)] | None = None
    """Brings images to size × size pixels, 1..4096."""
    validation: Between | None = None
    """Fraction of every class's training samples that is cut off for validation, between 0 and 1."""
    samples_per_task: Count | None = None
    """Keeps at most so many training samples of each task (stratified), ≥ 1; before validation is cut. Where tasks are
    drawn (`cir-sampling-…`): the samples that one draws."""
    shots: Count | None = None
    """Keeps at most so many training samples of each class, ≥ 1, in all tasks but the first, which is the base of few-shot
    increments; drawn by the stream's seed, before validation is cut."""
    first_tasks: Count | None = None
    """Ends the stream after so many of its tasks, ≥ 1; these, their labels and heads stay as they are."""
    features: str | None = None
    """A frozen pre-trained network whose features take the images' place: `pretrained` (EfficientNet-Lite0, from a
    package), `timm:NAME`, `hf:NAME`. They are computed once and kept on disk."""
    features_size: Annotated[int, Ge(8), Le(1024)] | None = None
    """Pixels of a side to which that network's images are scaled, 8..1024; none = its own."""
    normalize: Normalize | None = None
    """Pixels as fractions 0..1 ("unit"), or less mean over standard deviation: the data set's published ones,
    else those of the training images ("standard"), or ImageNet's ("imagenet")."""
    length: Annotated[Count, Le(2**16)] | None = None
    """Brings texts to so many tokens, 1..65536 (64 if nothing is said): longer ones are cut, shorter ones padded."""
    vocabulary: Annotated[int, Ge(2), Le(2**31)] | None = None
    """Token ids that the words of texts are hashed to, 2..2**31 (16384 if nothing is said)."""
    augment: bool | None = None
    """Random crops, and flips where a mirrored image means the same, of training images."""
    jitter: Annotated[float, Gt(0), Le(1)] | None = None
    """Makes each training image 1 − jitter to 1 + jitter times as bright, at random, after crop and flip; above 0, at most 1."""
    autoaugment: AutoAugment | None = None
    """Changes each training image, in colour, by a pair of operations drawn from AutoAugment's policy for CIFAR-10
    (arXiv:1805.09501), after all else."""
    first_permuted: bool | None = None
    """Whether the first task of a permuted stream is permuted as well."""
    occurrence: Annotated[float, Gt(0), Le(1)] | None = None
    """Of classes that come back at random: a class not met yet begins with this probability, above 0, at most 1."""
    recurrence: Fraction | None = None
    """Probability, 0..1, that a class which has begun is in a later task."""
    rare_classes: Fraction | None = None
    """Fraction of the classes, 0..1, that return with `rare_recurrence`; the others with `recurrence`."""
    rare_recurrence: Fraction | None = None
    """Probability, 0..1, that a rare class is in a later task."""
    interpolation: Interpolation | None = None
    """How turned images are sampled: "nearest", as published, or "bilinear"."""
    blurry: Between | None = None
    """Fraction of each task's training samples that other tasks get, between 0 and 1; hides boundaries."""
    seed: int | None = None
    """Seed of everything random in the stream (class order, permutations, cuts); None: the run's own seed."""

    def given(self) -> dict[str, object]:
        """The fields that are not None."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def over(self, defaults: "StreamOptions") -> "StreamOptions":
        """These options, with `defaults` where they say nothing; a list of classes brings as many tasks as it names."""
        listed = isinstance(self.classes_per_task, tuple) and self.tasks is None
        return replace(defaults, **({"tasks": None} if listed else {}), **self.given())  # pyright: ignore[reportArgumentType]


def refuse_others(name: str, options: StreamOptions, accepted: Sequence[str]) -> None:
    """Raises `HypermnesiaError` for an option that stream `name` would ignore."""
    for field in options.given():
        if field not in accepted:
            raise HypermnesiaError(
                f"{name} has no stream.{field}; its options: "
                + ", ".join(f"stream.{a}" for a in sorted(accepted))
            )
