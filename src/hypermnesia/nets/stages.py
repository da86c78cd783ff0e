"""A network as a sequence of named stages: where to cut it into body and tail, and where its classifier is.

A network declares `stages`, the names of its child modules such that running them one after another is its
forward; an `nn.Sequential` needs no declaration. There is no base class: any `nn.Module` may declare. One that does not
can still be cut into the parameters before and after a child (as those of torchvision), but its parts cannot run alone.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError, unknown


def stages(net: nn.Module) -> tuple[str, ...]:
    """Names of the stages of `net`, in the order they run: those that it declares, else its children as registered."""
    found = _declared(net)
    if (
        found is None
        and type(net).forward is not nn.Sequential.forward
        and not isinstance(net, nn.Sequential)
    ):
        found = tuple(net._modules)
    if not found:
        raise _undeclared(net, "there is nowhere to cut it")
    return found


def _declared(net: nn.Module) -> tuple[str, ...] | None:
    """The stages that run one after another; None where the network does not say them."""
    declared = getattr(net, "stages", None)
    # Some libraries have a child module of this name (timm's ConvNeXt): that is no declaration.
    if isinstance(declared, tuple | list):
        return _checked(net, tuple(declared))
    if isinstance(net, nn.Sequential) and type(net).forward is nn.Sequential.forward:
        return tuple(net._modules)  # named_children() would skip a module that runs twice
    return None


def _undeclared(net: nn.Module, consequence: str) -> HypermnesiaError:
    names = ", ".join(repr(name) for name in net._modules)
    return HypermnesiaError(
        f"{type(net).__name__} declares no stages, so {consequence}. Give it an attribute `stages`, a tuple of the names of "
        "its child modules such that running them in turn is its forward; what forward does between them, such as "
        f"flattening, becomes a child too (nn.Flatten()). With its children as they are: self.stages = ({names},)"
    )


def no_such_cut(cut: str, net: str, before: Sequence[str]) -> HypermnesiaError:
    """The error for a cut behind something that is none of the stages `before` the last one of a network called `net`."""
    if not before:
        there = "it has one stage only, so write weights.cut=auto"
    else:
        like = (get_close_matches(cut, before, n=1) or before[-1:])[0]
        like = f"'weights.cut=\"{like}\"'" if like.isdigit() else f"weights.cut={like}"
        there = (
            f"write the last stage of the shared body, such as {like}. In the order they are registered there "
            f"are: {', '.join(before)}; auto is all but the classifier"
        )
    return HypermnesiaError(
        f"weights.cut={cut}: {net} has no such stage to cut behind; {there}, none no shared body"
    )


def section(net: nn.Module, first: str | None = None, last: str | None = None) -> nn.Sequential:
    """The stages from `first` to `last`, both included, as a module (default: from the start, to the end).

    It shares its modules with `net` and names its parameters as `net` does, so that those parameters of
    `net` that belong to these stages, under their own names, are what `torch.func.functional_call` takes.
    """
    return nn.Sequential(OrderedDict((name, getattr(net, name)) for name in _between(net, first, last)))


def run(net: nn.Module, x: Tensor, first: str | None = None, last: str | None = None) -> Tensor:
    """`x` through the stages from `first` to `last`, both included (default: from the start, to the end)."""
    for name in _between(net, first, last):
        x = getattr(net, name)(x)
    return x


def classifier(net: nn.Module) -> str:
    """Path of the last `nn.Linear` of `net` in registration order ("" if `net` is one) that is no part of another."""
    paths: list[str] = []
    for path, module in net.named_modules():
        if isinstance(module, nn.Linear) and not (paths and path.startswith(f"{paths[-1]}.".lstrip("."))):
            paths.append(path)
    if not paths:
        raise HypermnesiaError(
            f"{type(net).__name__} has no nn.Linear, so its classifier cannot be found. Let it end in one. "
            f"Its children: {_children(net)}"
        )
    return paths[-1]


@contextmanager
def classifier_inputs(net: nn.Module) -> Iterator[list[Tensor]]:
    """Within the block: the inputs (B, d) of the classifier of `net`, one for each time that it is called."""
    seen: list[Tensor] = []
    hook = net.get_submodule(classifier(net)).register_forward_pre_hook(lambda _, x: seen.append(x[0]))
    try:
        yield seen
    finally:
        hook.remove()


def _between(net: nn.Module, first: str | None, last: str | None) -> tuple[str, ...]:
    names = _declared(net)
    if names is None:
        raise _undeclared(net, "its parts cannot run by themselves")
    for name in (first, last):
        if name is not None and name not in names:
            raise unknown(f"stage of {type(net).__name__}", name, names)
    start = 0 if first is None else names.index(first)
    stop = len(names) if last is None else names.index(last) + 1
    if first is not None and last is not None and stop <= start:
        raise HypermnesiaError(
            f"stage {first!r} of {type(net).__name__} runs after {last!r}, so nothing lies between them. "
            f"In the order they run: {', '.join(names)}"
        )
    return names[start:stop]


def _checked(net: nn.Module, declared: tuple[str, ...]) -> tuple[str, ...]:
    for name in declared:
        if not isinstance(name, str) or not isinstance(getattr(net, name, None), nn.Module):
            raise HypermnesiaError(
                f"{type(net).__name__} declares the stage {name!r}, but has no child module of that name. "
                f"Its children: {_children(net)}"
            )
    if len(set(declared)) < len(declared):
        raise HypermnesiaError(
            f"{type(net).__name__} declares a stage twice: {', '.join(declared)}. "
            "A module that runs twice needs an attribute for each run"
        )
    return declared


def _children(net: nn.Module) -> str:
    return ", ".join(net._modules) or "none"
