"""Recorded and compiled graphs give what the function gives."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.trees import flat
from hypermnesia.training.graphs import COMPILED, SIGHTS, Graphs, record

CALLS: list[int] = []


def slope(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
    """The gradient of a small network's loss: (weight, x) → (gradient, loss)."""
    CALLS.append(1)
    weight, x = inputs
    loss = torch.nn.functional.softplus(x @ weight).square().mean()
    return [*torch.autograd.grad(loss, weight), loss.detach()], "gradient and loss"


def given(seed: int, rows: int = 5) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [torch.randn(4, 3, generator=rng).requires_grad_(), torch.randn(rows, 4, generator=rng)]


def call(graphs: Graphs, inputs: list[Tensor], function: Callable[..., Any] = slope) -> list[Tensor]:
    return graphs(flat(inputs).form, function, inputs)[0]


def test_replays_are_what_the_function_gives() -> None:
    graphs = Graphs("it")
    CALLS.clear()
    for seed in range(20):
        inputs = given(seed, rows=5 + seed % 2)
        found, layout = graphs(flat(inputs).form, slope, inputs)
        assert layout == "gradient and loss"
        assert all(map(torch.equal, found, slope(inputs)[0]))
        CALLS.pop()
    assert (graphs.forms, graphs.recorded) == (2, 2)
    assert len(CALLS) == 2 * (SIGHTS + 1), "called for each sight of a form, and to record it"
    graphs.renew()
    assert graphs.forms == 0


def test_what_is_no_tensor_is_recorded_as_it_was() -> None:
    """Hence it belongs to the form."""
    graphs, factor = Graphs("it"), 2.0

    def scaled(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        return [inputs[0] * factor], None

    x = [torch.ones(3)]
    for _ in range(SIGHTS + 1):
        graphs([factor], scaled, x)
    factor = 5.0
    assert graphs([2.0], scaled, x)[0][0].tolist() == [2, 2, 2]
    assert graphs([factor], scaled, x)[0][0].tolist() == [5, 5, 5]


def test_nothing_is_computed_while_it_is_recorded() -> None:
    def count(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        total, x = inputs
        total.add_(x)
        return [x * total], None

    total, graphs = torch.zeros(1), Graphs("it")
    for calls in range(1, 6):
        found = call(graphs, [total, torch.ones(1)], count)
        assert total.item() == found[0].item() == calls
    assert graphs.recorded == 1


def test_what_is_not_read_is_not_made() -> None:
    def first(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        return [inputs[0] + inputs[2]], None

    def unread() -> Tensor:
        made.append(1)
        return torch.zeros(9)

    graphs, made = Graphs("it"), []
    for calls in range(1, 6):
        found, _ = graphs([1], first, [torch.ones(1), unread, partial(torch.ones, 1)])
        assert found[0].item() == 2 and len(made) == min(calls, SIGHTS + 1)


def test_operations_that_do_nothing_are_left_out() -> None:
    def idle(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        (x,) = inputs
        return [(x.view(2, 3).expand(2, 3) * 1).view(2, 3).exp().view(3, 2)], None

    graph, _ = record(idle, [torch.zeros(2, 3)])
    names = [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]
    assert names == ["aten.exp.default", "aten.view.default"]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_casts_are_part_of_it(precision: str) -> None:
    graphs, inputs = Graphs("it"), given(0)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        plain = slope(inputs)[0]
        for _ in range(SIGHTS + 1):
            found = call(graphs, inputs)
    assert graphs.recorded == 1
    assert all(map(torch.equal, found, plain))


def test_dropout_draws_what_it_would() -> None:
    layer, x = nn.Dropout(0.5), torch.ones(100)

    def dropped(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        return [layer(inputs[0])], None

    drawn = []
    for compile in (False, True):
        torch.manual_seed(0)
        graphs = Graphs("it", compile)
        drawn.append([call(graphs, [x], dropped)[0] for _ in range(SIGHTS + 2)])
        assert graphs.recorded == 1
    torch.manual_seed(0)
    plain = [layer(x) for _ in range(SIGHTS + 2)]
    for each in drawn:
        assert all(map(torch.equal, each, plain))


def test_a_branch_on_a_value_is_refused() -> None:
    def branching(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        return [inputs[0] if inputs[0].sum() > 0 else -inputs[0]], None

    graphs = Graphs("train.compile=true with mine", compile=True)
    with pytest.raises(HypermnesiaError, match="^train.compile=true with mine is not possible here: "):
        call(graphs, [torch.ones(3)], branching)


def test_what_cannot_be_recorded_is_computed_as_written() -> None:
    def branching(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        return [inputs[0] if inputs[0].sum() > 0 else -inputs[0]], None

    graphs, x = Graphs("--stack"), torch.ones(3)
    assert all(call(graphs, [x], branching)[0] is x for _ in range(SIGHTS))
    with pytest.warns(
        UserWarning, match="^--stack: these steps cannot be recorded and are computed as written: "
    ):
        call(graphs, [x], branching)
    assert call(graphs, [-x], branching)[0].tolist() == [1, 1, 1], "and warned of once"
    assert graphs.recorded == 0


# ------------------------------------------------------------------------------------------------------- compiled


def test_compiled_differs_by_rounding() -> None:
    graphs = Graphs("it", compile=True)
    for seed in range(4):
        for ours, theirs in zip(call(graphs, given(seed)), slope(given(seed))[0], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert graphs.recorded == 1


def test_compiled_alike_it_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor

    compilations, plain = [], torch._inductor.compile
    monkeypatch.setattr(torch._inductor, "compile", lambda *a, **k: compilations.append(1) or plain(*a, **k))
    graphs = Graphs("it", compile=True)
    for _ in range(3):
        graphs.renew()
        call(graphs, given(0))
    assert len(compilations) == 1


def test_a_compiler_that_errs_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor

    def wrong(graph: Any, inputs: Any, options: Any) -> Callable[..., list[Tensor]]:
        return lambda *given: [graph(*given)[0] * 1.1, graph(*given)[1]]

    monkeypatch.setattr(torch._inductor, "compile", wrong)
    with pytest.raises(
        HypermnesiaError, match="it is not possible here: the compiler's graph gives numbers that differ by"
    ):
        call(Graphs("it", compile=True), given(0))


def test_reads_stay_behind_writes() -> None:
    """As torch 2.13 compiles this by default, deterministically, it reads the sums before they are added to."""
    target, index = torch.tensor([0, 1, 2, 3, 0, 1]), torch.arange(4)

    def distilled(inputs: list[Tensor]) -> tuple[list[Tensor], Any]:
        first, second, third, x, old = inputs
        hidden = (x @ first).relu()
        hidden = (hidden @ second).relu()
        logits = hidden @ third
        loss = torch.nn.functional.cross_entropy(logits, target)
        log_old, log_new = ((v / 2).log_softmax(1) for v in (old, logits.index_select(1, index)))
        kept = (log_old.exp() * (log_old - log_new)).sum(1).mean()
        return [
            *torch.autograd.grad(loss + kept, inputs[:3]),
            loss.detach(),
            kept.detach(),
            logits.detach(),
        ], None

    rng = torch.Generator().manual_seed(0)
    shapes = ((64, 100), (100, 100), (100, 6), (6, 64), (6, 4))
    inputs = [torch.randn(*shape, generator=rng) * 0.2 for shape in shapes]
    for weight in inputs[:3]:
        weight.requires_grad_()
    deterministic, threads = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    try:
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(1)
        found = call(Graphs("it", compile=True), inputs, distilled)
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.set_num_threads(threads)
    for ours, theirs in zip(found, distilled(inputs)[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_too_many_forms_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor

    monkeypatch.setattr(torch._inductor, "compile", lambda graph, inputs, options: graph)
    graphs = Graphs("train.compile=true with er", compile=True)
    for rows in range(1, COMPILED + 1):
        call(graphs, given(0, rows))
    with pytest.raises(HypermnesiaError, match="train.compile=true with er does not pay here: the steps of"):
        call(graphs, given(0, COMPILED + 1))
