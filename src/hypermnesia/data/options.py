"""What a user may ask of a stream, beside its name."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from hypermnesia.core.errors import HypermnesiaError

Normalize = Literal["unit", "standard", "imagenet"]
Interpolation = Literal["nearest", "bilinear"]


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """Every field may be None: the benchmark's own value, or none where it has none."""

    tasks: int | None = None
    """Tasks, ≥ 1."""
    classes_per_task: int | tuple[int, ...] | None = None
    """Classes of a task (slots of a task where classes repeat), ≥ 1; or a list with those of each task, such as
    [50,10,10], whose last number stands for all further tasks."""
    order: str | tuple[int, ...] | None = None
    """Order of the classes: "label", "seed" (shuffled by the stream's seed), or the class ids themselves."""
    size: int | None = None
    """Brings images to size × size pixels, 1..4096."""
    validation: float | None = None
    """Fraction of every class's training samples that is cut off for validation, between 0 and 1."""
    samples_per_task: int | None = None
    """Keeps at most so many training samples of each task (stratified), ≥ 1; before validation is cut. Where tasks are
    drawn (`cir-sampling-…`): the samples that one draws."""
    first_tasks: int | None = None
    """Ends the stream after so many of its tasks, ≥ 1; these, their labels and heads stay as they are."""
    features: str | None = None
    """A frozen pre-trained network whose features take the images' place: `pretrained` (EfficientNet-Lite0, from a
    package), `timm:NAME`, `hf:NAME`. They are computed once and kept on disk."""
    features_size: int | None = None
    """Pixels of a side to which that network's images are scaled, 8..1024; none = its own."""
    normalize: Normalize | None = None
    """Pixels as fractions 0..1 ("unit"), or less mean over standard deviation: the data set's published ones,
    else those of the training images ("standard"), or ImageNet's ("imagenet")."""
    length: int | None = None
    """Brings texts to so many tokens, 1..65536 (64 if nothing is said): longer ones are cut, shorter ones padded."""
    vocabulary: int | None = None
    """Token ids that the words of texts are hashed to, 2..2³¹ (16384 if nothing is said)."""
    augment: bool | None = None
    """Random crops, and flips where a mirrored image means the same, of training images."""
    first_permuted: bool | None = None
    """Whether the first task of a permuted stream is permuted as well."""
    occurrence: float | None = None
    """Of classes that come back at random: a class not met yet begins with this probability, above 0, at most 1."""
    recurrence: float | None = None
    """Probability, 0..1, that a class which has begun is in a later task."""
    rare_classes: float | None = None
    """Fraction of the classes, 0..1, that return with `rare_recurrence`; the others with `recurrence`."""
    rare_recurrence: float | None = None
    """Probability, 0..1, that a rare class is in a later task."""
    interpolation: Interpolation | None = None
    """How turned images are sampled: "nearest", as published, or "bilinear"."""
    blurry: float | None = None
    """Fraction of each task's training samples that other tasks get, between 0 and 1; hides boundaries."""
    seed: int | None = None
    """Seed of everything random in the stream (class order, permutations, cuts); None: the run's own seed."""

    def __post_init__(self) -> None:
        for name in ("tasks", "classes_per_task", "samples_per_task", "first_tasks"):
            value = getattr(self, name)
            counts = value if isinstance(value, tuple) else () if value is None else (value,)
            _require(
                value != () and all(count >= 1 for count in counts),
                name,
                value,
                "a whole number of at least 1",
            )
        _require(
            self.features_size is None or 8 <= self.features_size <= 1024,
            "features_size",
            self.features_size,
            "pixels, 8 to 1024",
        )
        _require(self.size is None or 1 <= self.size <= 4096, "size", self.size, "pixels, 1 to 4096")
        _require(
            self.length is None or 1 <= self.length <= 2**16, "length", self.length, "tokens, 1 to 65536"
        )
        vocabulary = self.vocabulary
        _require(
            vocabulary is None or 2 <= vocabulary <= 2**31,
            "vocabulary",
            vocabulary,
            "a number of ids, 2 to 2147483648",
        )
        for name in ("recurrence", "rare_classes", "rare_recurrence"):
            value = getattr(self, name)
            _require(value is None or 0 <= value <= 1, name, value, "a fraction, 0 to 1")
        occurrence = self.occurrence
        _require(
            occurrence is None or 0 < occurrence <= 1,
            "occurrence",
            occurrence,
            "a probability above 0, at most 1",
        )
        for name in ("validation", "blurry"):
            value = getattr(self, name)
            _require(value is None or 0 < value < 1, name, value, "a fraction between 0 and 1")
        _require(
            not isinstance(self.order, str) or self.order in ("label", "seed"),
            "order",
            self.order,
            "'label', 'seed' or a list of class ids",
        )
        _require(
            self.normalize in (None, "unit", "standard", "imagenet"),
            "normalize",
            self.normalize,
            "'unit', 'standard' or 'imagenet'",
        )
        _require(
            self.interpolation in (None, "nearest", "bilinear"),
            "interpolation",
            self.interpolation,
            "'nearest' or 'bilinear'",
        )

    def given(self) -> dict[str, object]:
        """The fields that are not None."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}

    def over(self, defaults: "StreamOptions") -> "StreamOptions":
        """These options, with `defaults` where they say nothing."""
        return replace(defaults, **self.given())  # pyright: ignore[reportArgumentType]


def refuse_others(name: str, options: StreamOptions, accepted: Sequence[str]) -> None:
    """Raises `HypermnesiaError` for an option that stream `name` would ignore."""
    for field in options.given():
        if field not in accepted:
            raise HypermnesiaError(
                f"{name} has no stream.{field}; its options: "
                + ", ".join(f"stream.{a}" for a in sorted(accepted))
            )


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise HypermnesiaError(f"stream.{name} is {value!r}; expected {expected}")
