"""How long and how precisely a run trains, and its seeds."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Le

from hypermnesia.core.declared import Count, Positive, check_options
from hypermnesia.core.errors import HypermnesiaError

MOST_THREADS = 1024
MOST_SAMPLES = 1_000_000
"""Of one step: a larger batch is a slip of the keyboard, and would be gathered for hours."""


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How long and in which precision a task is trained."""

    iterations: Count | None = None
    """Optimizer steps per task: batches are always full and may straddle two epochs."""
    epochs: Positive | None = None
    """Passes over a task's samples instead of `iterations`; the last batch of a pass holds what is left."""
    batch_size: Annotated[Count, Le(MOST_SAMPLES)] = 32
    """Samples of the stream per step, ≥ 1."""
    clip: Positive | None = None
    """Largest norm of the whole gradient; longer ones are scaled down. none = never."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16 computes matrix products and convolutions in bfloat16 (parameters stay float32)."""
    channels_last: bool = False
    """Memory layout of images and convolution weights; pays with convolutional targets, changes only rounding."""
    keep_features: bool = True
    """Whether features of a frozen body are made once for a task that is passed several times, where images are not
    cropped, the method only passes them through the network, and they take up to 1 GiB; changes only rounding."""
    compile: bool = False
    """Whether loss and gradient run as one compiled graph, after some seconds' wait for each task: small steps take a third
    to two thirds of the time. The network's own Python runs once for each form of a batch. Results differ by rounding."""
    threads: Annotated[Count, Le(MOST_THREADS)] | Literal["auto"] | None = "auto"
    """CPU threads. auto: one, or all cores where the first step is faster with them; none = torch's own choice. Bit-equal
    results need the same number."""
    reproducible: Literal["here", "anywhere"] = "here"
    """Where a run gives the same bits: on this kind of processor with so many threads; or on any x86 processor with AVX2, in
    an environment of the same packages, and also when it moves between them. anywhere takes one thread."""
    select: Literal["last", "best_validation"] = "last"
    """Which model a task ends with: the last, or the one of the best accuracy on the task's validation part, the task
    given (HyperMask on CIFAR-100 and Tiny ImageNet). What a method remembers is not taken back."""
    look_every: Count | None = None
    """Steps between looks at the validation part, for `select` and `optimizer.schedule=plateau`, ≥ 1; none = as many as
    a pass over the task's samples takes. The last step always looks."""
    check: Literal["loss", "all"] = "loss"
    """loss stops the run at the first loss that is not finite; all looks at every gradient too and names it."""

    def __post_init__(self) -> None:
        check_options(self, "train")
        if (self.iterations is None) == (self.epochs is None):
            raise HypermnesiaError(
                f"give either train.iterations or train.epochs, not both and not neither; "
                f"got iterations={self.iterations}, epochs={self.epochs}"
            )
        if self.reproducible == "anywhere":
            for name, value in (("threads", self.threads not in ("auto", 1)), ("compile", self.compile)):
                if value:
                    raise HypermnesiaError(
                        f"train.reproducible=anywhere and train.{name}={getattr(self, name)} do not go together: leave one out"
                    )
            if self.precision != "float32":
                raise HypermnesiaError("train.reproducible=anywhere computes in float32 alone")

    @property
    def fixed_threads(self) -> int | None:
        """CPU threads that are said; None where a timed step or torch chooses them."""
        if self.reproducible == "anywhere":
            return 1
        return self.threads if isinstance(self.threads, int) else None


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """What randomness comes from; one number sets all, each can be set alone."""

    init: int = 0
    """Initial parameters and embeddings."""
    order: int = 0
    """Order of the samples and their augmentation."""
    method: int = 0
    """The method's own draws (memories, task subsets), and noise such as dropout."""
