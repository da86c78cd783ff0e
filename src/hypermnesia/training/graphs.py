"""Functions of tensors as graphs of their operations: recorded once for each form of the inputs, then replayed.

A replay calls the recorded operations one after another, without the Python, autograd and vmap that led to them: the same
numbers in less time. Compiled, they are fused, which changes rounding.
"""

import contextlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from hypermnesia.core.errors import HypermnesiaError

Compute = Callable[[list[Tensor]], tuple[list[Tensor], Any]]
"""Tensors → (tensors, what they are); differentiates by itself. Its answer depends on the given tensors and on nothing
that changes while the form stays the same."""
Input = Tensor | Callable[[], Tensor]
SIGHTS = 2
"""A form is recorded once it has come more often than that: the batch sizes of a memory that fills do not pay."""
RECORDED = 32
"""Forms that are known at a time."""
COMPILED = 8
"""Forms that are compiled at most, each of which takes seconds."""
OPTIONS = {
    "fallback_random": True,  # so that dropout draws what it draws uncompiled
    "reorder_for_peak_memory": False,  # torch 2.13 moves reads of a tensor before the writes to it (index_put_)
}


class Graphs:
    """What one function does, form by form."""

    def __init__(self, what: str, compile: bool = False) -> None:
        """`what` it is, for errors; `compile`: whether to fuse what was recorded."""
        self.what, self.compile = what, compile
        self._known: list[_Known] = []
        self._compiled: dict[str, Callable[..., Any]] = {}

    @property
    def forms(self) -> int:
        """Forms of the inputs that are known."""
        return len(self._known)

    @property
    def recorded(self) -> int:
        """Those of them that have a graph by now."""
        return sum(known.graph is not None for known in self._known)

    def renew(self) -> None:
        """Forget what was recorded: the function is another from here on, though it may be compiled alike."""
        self._known.clear()

    def __call__(
        self, form: list[Any], compute: Compute, inputs: Sequence[Input]
    ) -> tuple[list[Tensor], Any]:
        """As `compute(inputs)`, whose form (types, shapes, all that are no tensors) is `form`. An input that is a function is
        made by it, where it is read.

        Raises `HypermnesiaError` where `compute` cannot be compiled; warns where it cannot be recorded.
        """
        known = self._find(form)
        if known.graph is None:
            known.seen += 1
            whole = made(inputs)
            if self.compile or known.seen == SIGHTS + 1:
                self._make(known, compute, whole)
            if known.graph is None:
                return compute(whole)
            inputs = whole
        given = made([inputs[i] for i in known.reads])
        # Derivatives, and the casts of autocast, were recorded with the rest.
        with torch.no_grad(), no_autocast(given[0]):
            return known.graph(*given), known.layout

    def _find(self, form: list[Any]) -> "_Known":
        for i, known in enumerate(self._known):
            if known.form == form:
                if i:
                    self._known.insert(0, self._known.pop(i))
                return known
        if self.compile and len(self._known) == COMPILED:
            raise HypermnesiaError(
                f"{self.what} does not pay here: the steps of this task differ in form, {COMPILED} forms are compiled and "
                "there is another one"
            )
        del self._known[RECORDED - 1 :]
        self._known.insert(0, _Known(form))
        return self._known[0]

    def _make(self, known: "_Known", compute: Compute, inputs: list[Tensor]) -> None:
        try:
            graph, known.layout = record(compute, inputs)
            known.reads = _only_what_is_read(graph)
            read = [inputs[i] for i in known.reads]
            known.graph = self._fused(graph, read) if self.compile else graph
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            if self.compile:
                raise HypermnesiaError(f"{self.what} is not possible here: {reason}") from error
            warnings.warn(
                f"{self.what}: these steps cannot be recorded and are computed as written: {reason}",
                stacklevel=2,
            )

    def _fused(self, graph: GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        from torch._inductor import compile as fuse  # imported by those who compile

        described = [(x.shape, x.stride(), x.dtype, x.device) for x in inputs]
        constants = any(node.op == "get_attr" for node in graph.graph.nodes)
        key = f"{graph.code}{described}"
        if constants or key not in self._compiled:
            with torch.no_grad(), no_autocast(inputs[0]):
                # Calls between kernels in C++: a fifth of a small step. On a GPU that would ask for CUDA's headers.
                options = OPTIONS | {"cpp_wrapper": inputs[0].device.type == "cpu"}
                fused: Any = fuse(graph, [x.detach() for x in inputs], options=options)
                self._compare(graph, fused, inputs)
            self._compiled[key] = fused
        return self._compiled[key]

    def _compare(self, graph: GraphModule, fused: Callable[..., Any], inputs: list[Tensor]) -> None:
        """Raise unless the compiled graph gives what the recorded one gives, but for rounding: compilers have errors."""
        with torch.random.fork_rng():
            expected = graph(*map(_copy, inputs))
        with torch.random.fork_rng():
            found = fused(*map(_copy, inputs))
        coarse = 30.0 if "bfloat16" in graph.code else 1.0
        pairs = [(a, b) for a, b in zip(expected, found, strict=True) if a.is_floating_point() and a.numel()]
        largest = max((float(a.abs().max()) for a, _ in pairs), default=0.0)
        for a, b in pairs:
            allowed = coarse * (1e-2 * float(a.abs().max()) + 1e-5 * largest)
            apart = float((a - b).abs().max())
            if apart > allowed:
                raise HypermnesiaError(
                    f"{self.what} is not possible here: the compiler's graph gives numbers that differ by up to {apart:.2g} "
                    f"from those of the recorded operations, at most {float(a.abs().max()):.2g}"
                )


class _Known:
    """A form, and how often it came until its graph was made."""

    def __init__(self, form: list[Any]) -> None:
        self.form, self.seen = form, 0
        self.graph: Callable[..., Any] | None = None
        self.reads: list[int] = []
        """The inputs that the graph takes."""
        self.layout: Any = None


def record(compute: Compute, inputs: Sequence[Tensor]) -> tuple[GraphModule, Any]:
    """(the operations of `compute` as a graph over `inputs`, what its outputs are); nothing is computed.

    Raises `RuntimeError` where an operation depends on a tensor's value.
    """
    from torch.fx.experimental.proxy_tensor import make_fx

    layout: Any = None

    def run(*given: Tensor) -> list[Tensor]:
        nonlocal layout
        found, layout = compute(list(given))
        return found

    graph = make_fx(run, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    for node in list(graph.graph.nodes):
        if _does_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph, layout


def _only_what_is_read(graph: GraphModule) -> list[int]:
    """Let the graph take no input that it does not read; the places of the others among them."""
    given = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for node in given:
        if not node.users:
            graph.graph.erase_node(node)
    graph.recompile()
    return [i for i, node in enumerate(given) if node.users]


def made(inputs: Sequence[Input]) -> list[Tensor]:
    """The tensors, those that are functions made by these."""
    return [one if isinstance(one, Tensor) else one() for one in inputs]


def no_autocast(like: Tensor) -> contextlib.AbstractContextManager:
    """Computation as written, on the device of a tensor; entered at no cost where nothing is cast."""
    kind = like.device.type
    return (
        torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else contextlib.nullcontext()
    )


def _does_nothing(node: Node) -> bool:
    """Whether an operation gives its first argument as it is: vmap leaves many such behind."""
    aten = torch.ops.aten
    if node.target is aten.detach.default:
        return True
    if node.target in (aten.mul.Scalar, aten.mul.Tensor):
        return bool(node.args[1] == 1 and _form(node) == _form(node.args[0]))
    same = (aten.view.default, aten._unsafe_view.default, aten.expand.default)
    return bool(node.target in same and _form(node) == _form(node.args[0]))


def _form(node: Any) -> tuple[Any, ...]:
    value = node.meta["val"]
    return value.shape, value.stride(), value.dtype


def _copy(value: Tensor) -> Tensor:
    """What a graph may write into in place of `value`."""
    copy = value.detach().clone()
    return copy if copy.stride() == value.stride() else value.detach()
