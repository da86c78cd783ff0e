"""From options to a model: which parameters of a network are generated, masked, shared or stored."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import derive, generator
from hypermnesia.data import Stream
from hypermnesia.weights.check_net import try_out
from hypermnesia.weights.hypernets.base import Generator, GeneratorOptions
from hypermnesia.weights.hypernets.condition import reader
from hypermnesia.weights.hypernets.layers import TaskRows
from hypermnesia.weights.model import WRITTEN, Model, Role
from hypermnesia.weights.options import Kind, Mask, Partial, Weights, of_kind
from hypermnesia.weights.outputs import Head


def build_model(
    net: nn.Module,
    head: Head | None,
    weights: Weights,
    rng: torch.Generator | None = None,
    trial: Callable[[nn.Module], None] | None = None,
) -> Model:
    """The model of a target network with these weights. `rng` draws the generator's initial parameters; `trial` is called
    with the network as it will be run, before any of its parameters are written."""
    with torch.random.fork_rng():
        torch.manual_seed(0 if rng is None else derive(rng.initial_seed(), "layers"))
        net = weights.prepare(net)
    if trial is not None:
        trial(net)
    assigned = weights.roles(net)
    shapes = {name: value.shape for name, value in net.named_parameters() if assigned[name] in WRITTEN}
    writer = None
    if shapes:
        if weights.generator is None or rng is None:
            raise HypermnesiaError(f"weights={weights.kind} writes {len(shapes)} parameters and needs `rng`")
        writer = weights.generator.build_for(net, shapes, rng)
        _zero_stored_biases(net, assigned)
    statistics = weights.statistics
    if statistics == "auto":
        differs = (writer is not None and writer.differs) or "per_task" in assigned.values()
        statistics = "per_task" if differs else "shared"
    model = Model(
        net,
        head,
        assigned,
        writer,
        compose=weights.compose,
        statistics=statistics,
        base_trainable=weights.base_trainable if isinstance(weights, Mask) else "always",
        embedding_init=weights.embedding_init,
        plastic_embeddings=weights.plastic_embeddings,
    )
    model.weights = weights
    return model


def _zero_stored_biases(net: nn.Module, assigned: Mapping[str, Role]) -> None:
    """Start biases at 0 that tasks store beside a generated weight, as the partial hypernetwork's code does: the random
    start that a layer of its own would have belongs to that layer's weight."""
    for name, value in net.named_parameters():
        beside = name.removesuffix("bias") + "weight"
        if name.endswith("bias") and assigned[name] == "per_task" and assigned.get(beside) == "generated":
            with torch.no_grad():
                value.zero_()


def model_for(
    stream: Stream,
    net: nn.Module | Callable[[int], nn.Module],
    weights: Weights | Kind = "plain",
    writer: GeneratorOptions | None = None,
    seed: int = 0,
    tried: bool = False,
) -> Model:
    """A model of `net` for the tasks of `stream`: the one line between your own network and `fit`.

    `net` is a module whose last layer has as many outputs as the head needs, or a function outputs → module that
    builds it. `weights` is a kind (`"plain"`, `"hyper"`, `"partial"`, `"mask"`, `"lora"`) or its options, such as
    `Mask(mask=MaskOptions(sparsity=30))`; `writer` the options of a generator such as `ChunkedOptions`, in place of
    theirs. `seed` draws initial parameters. `tried`: the network is known to work, so that it is tried out here only where
    other norm layers are put into it.
    """
    options = of_kind(weights) if isinstance(weights, str) else weights
    if writer is not None:
        options = replace(options, generator=writer)
    classes = tuple(task.classes for task in stream.tasks)
    head = Head(options.head_kind, classes, stream.num_classes, options.head_width or 0)
    if not isinstance(net, nn.Module):
        with torch.random.fork_rng():
            torch.manual_seed(derive(seed, "net"))
            net = net(head.width)

    def trial(prepared: nn.Module) -> None:
        changed = isinstance(options, Partial) and options.tail_norm != "keep"
        counted = next(prepared.parameters()).is_meta  # without values, for its sizes alone
        if not tried or (changed and not counted):
            try_out(prepared, stream.shape, head.width, stream.dtype)

    return model_over(stream, net, head, options, seed, trial)


def model_over(
    stream: Stream,
    net: nn.Module,
    head: Head,
    weights: Weights,
    seed: int,
    trial: Callable[[nn.Module], None] | None = None,
) -> Model:
    """As `build_model`, for the tasks of a stream: with what computes embeddings from its samples, where the options ask for
    it. `seed` draws the generator's initial parameters."""
    model = build_model(net, head, weights, generator(seed, "generator"), trial)
    if (
        model.generator is not None
        and weights.generator is not None
        and weights.generator.condition != "free"
    ):
        _let_read(model.generator, weights.generator, stream, head, seed)
    return model


def _let_read(writer: Generator, options: GeneratorOptions, stream: Stream, head: Head, seed: int) -> None:
    """Give a generator what computes its embeddings from samples, by `options.condition`."""
    if stream.target is not None:
        raise HypermnesiaError(
            f"generator.condition={options.condition} goes by the samples of each class, and the targets of this stream are "
            "numbers (task=regression): leave it free"
        )
    writer.support = options.support
    if options.condition == "similar":
        writer.answered, writer.alike = TaskRows((), std=0.0), options.alike
        return
    own = writer.task_rows()
    if (
        [path for path, _ in own] != ["embeddings"]
        or len(shape := own[0][1].shape) == 2
        and shape[0] != head.width
    ):
        raise HypermnesiaError(
            f"generator.condition={options.condition} computes task embeddings alone, and this generator keeps more for each "
            "task: take generator=classwise, dense, heads or chunked without generator.conditional"
        )
    writer.reader = reader(
        options.condition,
        options.encoder,
        stream.shape,
        stream.dtype,
        head.width,
        own[0][1].shape,
        generator(seed, "reader"),
        options.queries,
    )
