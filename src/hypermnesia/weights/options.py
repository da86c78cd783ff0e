"""Which weights task t uses for a target network: one class of options for each kind of weights.

What a kind brings along (a hypernetwork, masks) it owns: `Mask(generator=DenseOptions(), mask=MaskOptions())`.
"""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import nn

from hypermnesia.core.declared import Count, Positive, check_options
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.registry import PART
from hypermnesia.core.tensors import matching
from hypermnesia.nets.classifiers import ClassifierName, with_classifier
from hypermnesia.nets.norms import even_groups, norm_parameters
from hypermnesia.nets.stages import classifier, no_such_cut, stages
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.compose import Add, MaskOptions, SemiBinaryMask
from hypermnesia.weights.hypernets.adapters import AdapterOptions
from hypermnesia.weights.hypernets.base import GeneratorOptions
from hypermnesia.weights.model import WRITTEN, Compose, Role
from hypermnesia.weights.outputs import HeadKind

Kind = Literal["plain", "hyper", "partial", "mask", "lora"]
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What becomes of each parameter of the target network.

    The kind sets the rule for all of them; the pattern fields (`generated`, `masked`, `shared`, `per_task`, `frozen`,
    `body`) override it for the parameters they match, for example `weights.per_task=["*.norm*"]`.
    """

    kind: ClassVar[Kind]
    writer: ClassVar[str] = "chunked"
    """The generator that it has by default, where it has any."""

    base: str | None = None
    """Pre-trained values to start from: a .safetensors file of the network's state_dict, as `hypermnesia export` writes
    it, or the directory of a run on weights=plain. The classifier may be missing or of another width."""
    base_sha256: str | None = None
    """Checksum of these values. Filled in when the run is configured: later the base must be the same."""
    head: Literal["auto", "shared", "sliced", "per_task"] = "auto"
    """Which classes the outputs stand for; auto = shared with plain weights, else per_task."""
    head_width: Count | None = None
    """Outputs of each task's own head, where they are more than its classes (the scripts of Hemati et al.: ten for
    five classes); those too many take part in the softmax. none = as many as classes."""
    classifier: ClassifierName = "linear"
    """The network's last layer: linear, by cosines, by a simplex of fixed corners (RPC), or with a projection beside (SCR)."""
    cosine_scale: Positive = 1.0
    """With classifier=cosine: where its learned factor starts, > 0."""
    projection: Count = 128
    """With classifier=projected: outputs of the projection, ≥ 1."""
    cut: str | None = None
    """The last stage of the network that belongs to a shared body: trained with the first task, then frozen with its
    statistics. auto = all but the classifier, none = no body (with partial: everything is generated, HN-F)."""
    generated: tuple[str, ...] = ()
    """Name patterns of parameters to generate."""
    masked: tuple[str, ...] = ()
    """Name patterns of parameters to mask."""
    shared: tuple[str, ...] = ()
    """Name patterns of parameters shared by all tasks and trained throughout."""
    per_task: tuple[str, ...] = ()
    """Name patterns of parameters stored for each task."""
    frozen: tuple[str, ...] = ()
    """Name patterns of parameters that never train."""
    body: tuple[str, ...] = ()
    """Name patterns of parameters that train with the first task only."""
    statistics: Literal["auto", "shared", "per_task"] = "auto"
    """Running statistics of norm layers outside a frozen body: one set, or one per task; auto = per task wherever
    weights differ by task."""
    embedding_init: Literal["random", "previous"] = "random"
    """Start of a new task's embedding: drawn anew, or the previous task's (partial hypernetworks)."""
    plastic_embeddings: bool = False
    """Whether embeddings of finished tasks go on training under the drift penalty."""
    generator: GeneratorOptions | None = field(default=None, metadata=PART)
    """The hypernetwork; none = the kind's own where something is written."""
    mask: MaskOptions | None = field(default=None, metadata=PART)
    """How masks are made; none = as published where something is masked."""

    def __post_init__(self) -> None:
        check_options(self, "weights")
        if self.writes and self.generator is None:
            object.__setattr__(self, "generator", self.default_generator())
        if self.masks and self.mask is None:
            object.__setattr__(self, "mask", MaskOptions())
        if self.generator is not None and not isinstance(self.generator, GeneratorOptions):
            known = ", ".join(f"{kind.__name__}()" for kind in GENERATORS.values())
            raise HypermnesiaError(
                f"generator={self.generator!r}: expected the options of a generator: {known}"
            )
        for part, used, by in (("generator", self.writes, "written"), ("mask", self.masks, "masked")):
            if getattr(self, part) is not None and not used:
                raise HypermnesiaError(
                    f"weights.{part}: nothing is {by} with weights={self.kind}; leave it out"
                )

    def role(self) -> Role:
        """Of every parameter of which nothing else is said."""
        raise NotImplementedError

    def written_role(self) -> Role | None:
        """The role that the kind gives to what its generator writes; None if it has none."""
        return None

    @property
    def writes(self) -> bool:
        """Whether a generator writes any of the parameters."""
        return self.written_role() is not None or bool(self.generated or self.masked)

    @property
    def masks(self) -> bool:
        """Whether any of the parameters are masked."""
        return self.written_role() == "masked" or bool(self.masked)

    @property
    def drifts(self) -> bool:
        """Whether what is written for one task moves while another one trains, so that something has to hold it."""
        return self.writes

    @property
    def differs(self) -> bool:
        """Whether weights or outputs differ from task to task, so that an input's task has to be known."""
        return self.kind != "plain" or self.head_kind != "shared" or self.writes or bool(self.per_task)

    @property
    def head_kind(self) -> HeadKind:
        """The head that the options ask for, `auto` resolved."""
        if self.head != "auto":
            return self.head
        return "shared" if self.kind == "plain" and not self.per_task else "per_task"

    @property
    def compose(self) -> Compose | None:
        """How written values meet the target's own."""
        return SemiBinaryMask(self.mask) if self.mask is not None else None

    def default_generator(self, name: str | None = None) -> GeneratorOptions:
        """The options that the generator `name`, or the kind's own, begins with on these weights."""
        return GENERATORS.find(name or self.writer).writing(self.written_role())

    def roles(self, net: nn.Module) -> dict[str, Role]:
        """The role of every parameter."""
        names = [name for name, _ in net.named_parameters()]
        assigned: dict[str, Role] = dict.fromkeys(names, self.role())
        assigned |= self._special(net)
        assigned |= dict.fromkeys(self._body_names(net), "body")
        overrides: tuple[Role, ...] = ("generated", "masked", "shared", "per_task", "frozen", "body")
        for role in overrides:
            assigned |= dict.fromkeys(matching(getattr(self, role), names), role)
        return assigned

    def _special(self, net: nn.Module) -> dict[str, Role]:
        """Parameters to which the kind gives another role."""
        return self._vectors(net)

    def _vectors(self, net: nn.Module) -> dict[str, Role]:
        """Parameters of one dimension are each task's own where the generator writes none."""
        if self.generator is None or not self.generator.matrices_only:
            return {}
        return {name: "per_task" for name, value in net.named_parameters() if value.ndim < 2}

    def _own_classifier(self, net: nn.Module) -> dict[str, Role]:
        """That of a base knows other classes than the tasks have."""
        own: Role = "per_task" if self.head_kind == "per_task" else "shared"
        path = classifier(net)
        keys = [key for key, _ in net.get_submodule(path).named_parameters()]
        return {f"{path}.{key}" if path else key: own for key in keys}

    def _body_stages(self, net: nn.Module) -> tuple[str, ...]:
        """The stages up to and including the cut."""
        if self.cut is None:
            return ()
        order = stages(net)
        if self.cut == "auto":
            last = classifier(net).partition(".")[0]
            return order[: order.index(last)] if last in order else order[:-1]
        if self.cut not in order[:-1]:
            raise no_such_cut(self.cut, type(net).__name__, order[:-1])
        return order[: order.index(self.cut) + 1]

    def _body_names(self, net: nn.Module) -> list[str]:
        body = self._body_stages(net)
        return [name for name, _ in net.named_parameters() if name.split(".")[0] in body]

    def prepare(self, net: nn.Module) -> nn.Module:
        """`net` with the layers that these weights ask for (changed in place; new ones draw from torch's generator)."""
        return with_classifier(net, self.classifier, self.cosine_scale, self.projection)


@dataclass(frozen=True, kw_only=True)
class Plain(Weights):
    """Shared by all tasks."""

    kind: ClassVar[Kind] = "plain"

    def role(self) -> Role:
        return "shared"


@dataclass(frozen=True, kw_only=True)
class _Written(Weights):
    """A generator writes whole layers: norm layers can be left to the tasks."""

    norms: Literal["per_task", "shared", "written"] = "per_task"
    """Whether norm layers keep affine values per task, share them (HyperMask's reference) or have them written
    (generated, masked) like all others."""

    def written_role(self) -> Role | None:
        role = self.role()
        return role if role in WRITTEN else None

    def _special(self, net: nn.Module) -> dict[str, Role]:
        kept: dict[str, Role] = {}
        if self.norms != "written":
            kept = dict.fromkeys(norm_parameters(net), self.norms)
        return kept | self._vectors(net)


@dataclass(frozen=True, kw_only=True)
class Hyper(_Written):
    """Generated."""

    kind: ClassVar[Kind] = "hyper"

    def __post_init__(self) -> None:
        if self.base is not None:
            raise HypermnesiaError(
                "weights.base fills a network whose every value weights=hyper generates: take weights=lora, mask, "
                "partial or plain"
            )
        super().__post_init__()

    def role(self) -> Role:
        return "generated"


@dataclass(frozen=True, kw_only=True)
class Partial(_Written):
    """A body trained with task 1 and frozen, the tail generated."""

    kind: ClassVar[Kind] = "partial"
    writer: ClassVar[str] = "heads"

    cut: str | None = "auto"
    """The last stage of the shared body, frozen after task 1. auto = all but the classifier, none = no body (HN-F)."""
    tail: Literal["generated", "stored"] = "generated"
    """Whether the tail is generated or stored for each task (the bound that cannot forget)."""
    tail_norm: Literal["instance", "group", "keep"] = "instance"
    """Norm layers of the tail. The reference generates weights per sample, which makes its batch norm an instance norm;
    keep = as the network has them, with statistics per task."""

    def role(self) -> Role:
        return "generated" if self.tail == "generated" else "per_task"

    def prepare(self, net: nn.Module) -> nn.Module:
        """`net` with the batch norms of its tail replaced as `tail_norm` says, and its classifier."""
        net = super().prepare(net)
        if self.tail_norm == "keep":
            return net
        names = [name for name, _ in net.named_parameters()]
        body = {name.rpartition(".")[0] for name in [*self._body_names(net), *matching(self.body, names)]}
        stages_of_body = self._body_stages(net)
        for path, module in list(net.named_modules()):
            rests = path in body or path.split(".")[0] in stages_of_body
            if isinstance(module, nn.BatchNorm2d) and not rests:
                width = module.num_features
                if self.tail_norm == "instance":
                    fresh: nn.Module = nn.InstanceNorm2d(width, eps=module.eps, affine=True)
                else:
                    fresh = nn.GroupNorm(even_groups(width), width, eps=module.eps)
                parent, _, key = path.rpartition(".")
                setattr(net.get_submodule(parent), key, fresh)
        return net


@dataclass(frozen=True, kw_only=True)
class Mask(_Written):
    """θ ⊙ mask, the mask generated."""

    kind: ClassVar[Kind] = "mask"
    writer: ClassVar[str] = "dense"

    base_trainable: Literal["always", "first_task", "never"] = "always"
    """When the target's own values θ train. never = masks over a base that stays as it is; the classifier is then
    stored for each task, not masked."""

    def role(self) -> Role:
        return "masked"

    def _special(self, net: nn.Module) -> dict[str, Role]:
        special = super()._special(net)
        last_bias = classifier(net) + ".bias"
        if last_bias in dict(net.named_parameters()):
            special[last_bias] = "shared"  # HyperMask never masks the last tensor
        return special | (self._own_classifier(net) if self.base_trainable == "never" else {})


@dataclass(frozen=True, kw_only=True)
class LoRA(Weights):
    """Frozen, plus a low-rank addition; the classifier is stored for each task where the addition differs."""

    kind: ClassVar[Kind] = "lora"
    writer: ClassVar[str] = "lowrank"

    target: tuple[str, ...] = ()
    """Patterns of the weight matrices and convolutions that get an addition; none given = every one but the
    classifier."""
    scale: Positive = 1.0
    """Factor s of the addition w = w0 + s·B(e)A(e)."""
    written: Literal["generated", "stored", "shared", "summed"] = "generated"
    """Where additions come from. generated: a hypernetwork writes each task's. stored: each task keeps its own. shared: one
    for all tasks. summed: each task adds one to those before it, which rest; all tasks use the sum."""

    def __post_init__(self) -> None:
        super().__post_init__()
        stored = isinstance(self.generator, AdapterOptions)
        if stored != (self.written != "generated"):
            raise HypermnesiaError(
                f"weights.written={self.written} goes with generator={'adapters' if not stored else 'lowrank or the like'}"
            )
        if isinstance(self.generator, AdapterOptions) and self.generator.sharing != self.written:
            if self.generator.sharing != "stored":
                raise HypermnesiaError(f"weights.written={self.written}: leave generator.sharing out")
            object.__setattr__(self, "generator", replace(self.generator, sharing=self.written))

    @property
    def drifts(self) -> bool:
        return self.written == "generated"

    @property
    def _alike(self) -> bool:
        """Whether all tasks have the same additions."""
        return self.written in ("shared", "summed")

    @property
    def differs(self) -> bool:
        return not self._alike or self.head_kind != "shared" or bool(self.per_task)

    @property
    def head_kind(self) -> HeadKind:
        return "shared" if self.head == "auto" and self._alike and not self.per_task else super().head_kind

    def default_generator(self, name: str | None = None) -> GeneratorOptions:
        return super().default_generator(name or ("lowrank" if self.written == "generated" else "adapters"))

    def role(self) -> Role:
        return "frozen"

    def written_role(self) -> Role | None:
        return "added"

    @property
    def compose(self) -> Compose | None:
        return Add(scale=self.scale)

    def _special(self, net: nn.Module) -> dict[str, Role]:
        """A convolution that gets an addition counts as a matrix (out, in × positions)."""
        targets: dict[str, Role] = dict.fromkeys(self._targets(net), "added")
        return self._own_classifier(net) | targets

    def _targets(self, net: nn.Module) -> list[str]:
        if self.target:
            matrices = [name for name, value in net.named_parameters() if value.ndim >= 2]
            return matching(self.target, matrices, "weight matrix")
        last = classifier(net)
        layers = [(path, module) for path, module in net.named_modules() if isinstance(module, MATRICES)]
        found = [f"{path}.weight" for path, _ in layers if path != last]
        if not found:
            raise HypermnesiaError(
                f"weights=lora: {type(net).__name__} has no linear or convolution layer beside its classifier {last!r}; "
                "name the weights that get an addition with weights.target"
            )
        return found


WEIGHTS: dict[str, type[Weights]] = {kind.kind: kind for kind in (Plain, Hyper, Partial, Mask, LoRA)}
"""Every kind of weights by its name on the command line."""


def of_kind(kind: str, **options: Any) -> Weights:
    """The options of the weights called `kind`."""
    if not isinstance(kind, str) or kind not in WEIGHTS:
        raise unknown("weights.kind", str(kind), WEIGHTS)
    return WEIGHTS[kind](**options)


def WeightsOptions(kind: Kind = "plain", **options: Any) -> Weights:
    """`of_kind` by its name in version 0.1."""
    return of_kind(kind, **options)
