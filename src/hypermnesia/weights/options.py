"""Which weights task t uses for a target network: the choice between plain, generated, partly generated and masked."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from hypermnesia.core.checks import check_choices, check_count
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.tensors import matching
from hypermnesia.nets.norms import norm_parameters
from hypermnesia.nets.stages import classifier, stages
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.hypernets.lowrank import LowRankOptions
from hypermnesia.weights.model import Role
from hypermnesia.weights.outputs import HeadKind

Kind = Literal["plain", "hyper", "partial", "mask", "lora"]
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

DEFAULT_GENERATOR: dict[Kind, str] = {
    "hyper": "chunked",
    "partial": "heads",
    "mask": "dense",
    "lora": "lowrank",
}
LOW_RANK_START: dict[Kind, LowRankOptions] = {
    "lora": LowRankOptions(embedding=32, layer_embedding=32, hidden=(64, 64), init="zero"),
    "mask": LowRankOptions(mask_bias=2.0),
}
"""A low-rank generator's defaults where it changes a given network: at first, additions do nothing and masks little
(tanh 2 = 0.96). Additions gain from a wider generator, and it is still as small as a few stored adapters."""


def default_generator(kind: Kind, name: str | None = None) -> Any:
    """The default options of the generator `name`, or of the one that weights of this kind have by default."""
    name = name or DEFAULT_GENERATOR.get(kind, "chunked")
    if name not in GENERATORS:
        raise unknown("generator", str(name), GENERATORS)
    if name == "lowrank" and kind in LOW_RANK_START:
        return LOW_RANK_START[kind]
    return GENERATORS[name]()


@dataclass(frozen=True, kw_only=True)
class WeightsOptions:
    """What becomes of each parameter of the target network.

    `kind` sets the rule for all of them; the pattern fields (`generated`, `masked`, `shared`, `per_task`, `frozen`,
    `body`) override it for the parameters they match, for example `weights.per_task=["*.norm*"]`.
    """

    kind: Kind = "plain"
    """plain: shared by all tasks · hyper: generated · partial: a body trained with task 1 and frozen, the tail
    generated · mask: θ ⊙ mask, the mask generated · lora: frozen, plus a generated low-rank addition; the classifier
    is stored for each task."""
    base: str | None = None
    """Pre-trained values to start from: a .safetensors file of the network's state_dict, as `hypermnesia export` writes
    it, or the directory of a run on weights=plain. The classifier may be missing or of another width."""
    base_sha256: str | None = None
    """Checksum of these values. Filled in when the run is configured: later the base must be the same."""
    head: Literal["auto", "shared", "sliced", "per_task"] = "auto"
    """Which classes the outputs stand for; auto = shared with plain weights, else per_task."""
    head_width: int | None = None
    """Outputs of each task's own head, where they are more than its classes (the scripts of Hemati et al.: ten for
    five classes); those too many take part in the softmax. none = as many as classes."""
    cut: str | None = "default"
    """The last stage of the network that belongs to a shared body: trained with the first task, then frozen with its
    statistics. auto = all but the classifier, none = no body (with partial: everything is generated, HN-F), default =
    auto with partial, none with all others."""
    tail: Literal["generated", "stored"] = "generated"
    """partial: whether the tail is generated or stored for each task (the bound that cannot forget)."""
    tail_norm: Literal["instance", "group", "keep"] = "instance"
    """partial: norm layers of the tail. The reference generates weights per sample, which makes its batch norm an
    instance norm; keep = as the network has them, with statistics per task."""
    target: tuple[str, ...] = ()
    """lora: patterns of the weight matrices and convolutions that get an addition; none given = every one but the
    classifier."""
    scale: float = 1.0
    """lora: factor s of the addition w = w0 + s·B(e)A(e)."""
    norms: Literal["per_task", "shared", "written"] = "per_task"
    """hyper, partial and mask: whether norm layers keep affine values per task, share them (HyperMask's reference)
    or have them written (generated, masked) like all others."""
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
    base_trainable: Literal["always", "first_task", "never"] = "always"
    """mask: when the target's own values θ train. never = masks over a base that stays as it is; the classifier is then
    stored for each task, not masked."""
    embedding_init: Literal["random", "previous"] = "random"
    """Start of a new task's embedding: drawn anew, or the previous task's (partial hypernetworks)."""
    plastic_embeddings: bool = False
    """Whether embeddings of finished tasks go on training under the drift penalty."""

    def __post_init__(self) -> None:
        check_choices(self, "weights")
        if self.head_width is not None:
            check_count("weights.head_width", self.head_width)
        if self.base is not None and self.kind == "hyper":
            raise HypermnesiaError(
                "weights.base fills a network whose every value weights=hyper generates: take weights=lora, mask, "
                "partial or plain"
            )


def writes(options: WeightsOptions) -> bool:
    """Whether a generator writes any of the parameters."""
    by_kind = options.tail == "generated" if options.kind == "partial" else options.kind in DEFAULT_GENERATOR
    return by_kind or bool(options.generated or options.masked)


def head_kind(options: WeightsOptions) -> HeadKind:
    """The head that the options ask for, `auto` resolved."""
    if options.head != "auto":
        return options.head
    return "shared" if options.kind == "plain" and not options.per_task else "per_task"


def roles(net: nn.Module, options: WeightsOptions, matrices_only: bool = False) -> dict[str, Role]:
    """The role of every parameter. With `matrices_only` no 1-D tensor is written: each task stores its own."""
    names = [name for name, _ in net.named_parameters()]
    assigned: dict[str, Role] = dict.fromkeys(names, _default_role(options))
    if options.kind in ("hyper", "partial", "mask") and options.norms != "written":
        assigned |= dict.fromkeys(norm_parameters(net), options.norms)
    if matrices_only and options.kind != "lora":
        vectors = [name for name, value in net.named_parameters() if value.ndim < 2]
        assigned |= dict.fromkeys(vectors, "per_task")
    if options.kind == "mask":
        last_bias = classifier(net) + ".bias"
        if last_bias in assigned:
            assigned[last_bias] = "shared"  # HyperMask never masks the last tensor
    if options.kind == "lora" or (options.kind == "mask" and options.base_trainable == "never"):
        own: Role = "per_task" if head_kind(options) == "per_task" else "shared"
        assigned |= dict.fromkeys(_classifier_names(net), own)  # that of the base knows other classes
    if options.kind == "lora":
        assigned |= dict.fromkeys(_lora_targets(net, options), "added")
    assigned |= dict.fromkeys(_body_names(net, options), "body")
    overrides: tuple[Role, ...] = ("generated", "masked", "shared", "per_task", "frozen", "body")
    for role in overrides:
        assigned |= dict.fromkeys(matching(getattr(options, role), names), role)
    return assigned


def _default_role(options: WeightsOptions) -> Role:
    if options.kind == "partial":
        return "generated" if options.tail == "generated" else "per_task"
    by_kind: dict[Kind, Role] = {"plain": "shared", "hyper": "generated", "mask": "masked", "lora": "frozen"}
    return by_kind[options.kind]


def _body_stages(net: nn.Module, options: WeightsOptions) -> tuple[str, ...]:
    """The stages up to and including the cut."""
    cut = options.cut
    if cut == "default":
        cut = "auto" if options.kind == "partial" else None
    if cut is None:
        return ()
    order = stages(net)
    if cut == "auto":
        return order[:-1]
    if cut not in order[:-1]:
        raise HypermnesiaError(
            f"weights.cut={cut!r}: this network has no such stage; there are: {', '.join(order[:-1])}, "
            "or none for no shared body"
        )
    return order[: order.index(cut) + 1]


def _body_names(net: nn.Module, options: WeightsOptions) -> list[str]:
    body = _body_stages(net, options)
    return [name for name, _ in net.named_parameters() if name.split(".")[0] in body]


def _classifier_names(net: nn.Module) -> list[str]:
    path = classifier(net)
    keys = [key for key, _ in net.get_submodule(path).named_parameters()]
    return [f"{path}.{key}" if path else key for key in keys]


def _lora_targets(net: nn.Module, options: WeightsOptions) -> list[str]:
    """Names of the weights that get a low-rank addition; a convolution counts as a matrix (out, in × positions)."""
    if options.target:
        matrices = [name for name, value in net.named_parameters() if value.ndim >= 2]
        return matching(options.target, matrices, "weight matrix")
    last = classifier(net)
    layers = [(path, module) for path, module in net.named_modules() if isinstance(module, MATRICES)]
    found = [f"{path}.weight" for path, _ in layers if path != last]
    if not found:
        raise HypermnesiaError(
            f"weights=lora: {type(net).__name__} has no linear or convolution layer beside its classifier {last!r}; "
            "name the weights that get an addition with weights.target"
        )
    return found


def with_tail_norm(net: nn.Module, options: WeightsOptions) -> nn.Module:
    """`net` with the batch norms of its tail replaced as `tail_norm` says (partial weights only; changed in place)."""
    if options.kind != "partial" or options.tail_norm == "keep":
        return net
    names = [name for name, _ in net.named_parameters()]
    body = {name.rpartition(".")[0] for name in [*_body_names(net, options), *matching(options.body, names)]}
    stages_of_body = _body_stages(net, options)
    for path, module in list(net.named_modules()):
        rests = path in body or path.split(".")[0] in stages_of_body
        if isinstance(module, nn.BatchNorm2d) and not rests:
            width = module.num_features
            if options.tail_norm == "instance":
                fresh: nn.Module = nn.InstanceNorm2d(width, eps=module.eps, affine=True)
            else:
                fresh = nn.GroupNorm(_groups(width), width, eps=module.eps)
            parent, _, key = path.rpartition(".")
            setattr(net.get_submodule(parent), key, fresh)
    return net


def _groups(width: int) -> int:
    """The largest number of groups up to 8 that divides `width`."""
    return max(groups for groups in range(1, 9) if width % groups == 0)
