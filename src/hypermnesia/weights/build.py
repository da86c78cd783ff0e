"""From options to a model: which parameters of a network are generated, masked, shared or stored."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import derive, generator
from hypermnesia.data import Stream
from hypermnesia.nets.norms import norm_parameters
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.check_net import try_out
from hypermnesia.weights.compose import Add, MaskOptions, SemiBinaryMask
from hypermnesia.weights.hypernets.lowrank import LowRankOptions
from hypermnesia.weights.hypernets.per_layer import HeadsOptions
from hypermnesia.weights.model import WRITTEN, Compose, Model, Role
from hypermnesia.weights.options import (
    Kind,
    WeightsOptions,
    default_generator,
    head_kind,
    roles,
    with_tail_norm,
    writes,
)
from hypermnesia.weights.outputs import Head


def build_model(
    net: nn.Module,
    head: Head | None,
    options: WeightsOptions,
    generator_options: Any = None,
    mask: Any = None,
    rng: torch.Generator | None = None,
) -> Model:
    """The model of a target network under the options.

    `generator_options`: one of `hyper.GENERATORS`' options, where something is written. `mask`: `MaskOptions` for
    masked weights. `rng` draws the generator's initial parameters.
    """
    net = with_tail_norm(net, options)
    matrices_only = isinstance(generator_options, HeadsOptions | LowRankOptions)
    assigned = roles(net, options, matrices_only=matrices_only)
    shapes = {name: value.shape for name, value in net.named_parameters() if assigned[name] in WRITTEN}
    generator = None
    if shapes:
        if generator_options is None or rng is None:
            raise HypermnesiaError(
                f"weights={options.kind} writes {len(shapes)} parameters and needs a generator"
            )
        norms = [name for name in norm_parameters(net) if name in shapes]
        scales = [name for name in norms if name.endswith("weight")]
        shifts = [name for name in norms if name not in scales]
        generator = generator_options.build(shapes, rng, scales, shifts)
        _zero_stored_biases(net, assigned)
    differs = generator is not None or "per_task" in assigned.values()
    statistics = options.statistics
    if statistics == "auto":
        statistics = "per_task" if differs else "shared"
    return Model(
        net,
        head,
        assigned,
        generator,
        compose=_compose(options, mask),
        statistics=statistics,
        base_trainable=options.base_trainable,
        embedding_init=options.embedding_init,
        plastic_embeddings=options.plastic_embeddings,
    )


def _zero_stored_biases(net: nn.Module, assigned: Mapping[str, Role]) -> None:
    """Start biases at 0 that tasks store beside a generated weight, as the partial hypernetwork's code does: the random
    start that a layer of its own would have belongs to that layer's weight."""
    for name, value in net.named_parameters():
        beside = name.removesuffix("bias") + "weight"
        if name.endswith("bias") and assigned[name] == "per_task" and assigned.get(beside) == "generated":
            with torch.no_grad():
                value.zero_()


def _compose(options: WeightsOptions, mask: Any) -> Compose | None:
    if options.kind == "lora":
        return Add(scale=options.scale)
    return SemiBinaryMask(mask or MaskOptions()) if options.kind == "mask" or options.masked else None


def model_for(
    stream: Stream,
    net: nn.Module | Callable[[int], nn.Module],
    weights: WeightsOptions | Kind = "plain",
    writer: Any = None,
    mask: MaskOptions | None = None,
    seed: int = 0,
    tried: bool = False,
) -> Model:
    """A model of `net` for the tasks of `stream`: the one line between your own network and `fit`.

    `net` is a module whose last layer has as many outputs as the head needs, or a function outputs → module that
    builds it. `weights` is a kind (`"plain"`, `"hyper"`, `"partial"`, `"mask"`, `"lora"`) or full options; `writer`
    the options of a generator such as `ChunkedOptions`, default that of the kind. `seed` draws initial parameters.
    `tried`: whether the network is known to work, as those of this package are; else one batch passes it first.
    """
    options = WeightsOptions(kind=weights) if isinstance(weights, str) else weights
    classes = tuple(task.classes for task in stream.tasks)
    head = Head(head_kind(options), classes, stream.num_classes, options.head_width or 0)
    if not isinstance(net, nn.Module):
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "net"))
            net = net(head.width)
    if not tried:
        try_out(net, stream.shape, head.width, stream.dtype)
    if writer is None and writes(options):
        writer = default_generator(options.kind)
    if writer is not None and not callable(getattr(writer, "build", None)):
        known = ", ".join(f"{kind.__name__}()" for kind in GENERATORS.values())
        raise HypermnesiaError(f"writer={writer!r}: expected the options of a generator: {known}")
    return build_model(net, head, options, writer, mask, generator(seed, "generator"))
