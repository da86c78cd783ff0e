"""What every approach owes: the rows are in contract.py."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import small
import torch
from contract import BY_NAME, FILLED_AT_TASK_ENDS, GENERATORS, OF_NUMBERS, ROWS, Row, Same, words_of
from exact import Make, assert_equal_runs, finished, resumed
from torch import Tensor
from torch.func import grad, vmap

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.lookahead import candidate
from hypermnesia.core.tensors import Tensors
from hypermnesia.core.trees import _walk, flat, rebuilt, with_numbers
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.build import build as build_run
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.learner import Batch, Net
from hypermnesia.methods.stages import Gradients
from hypermnesia.training.events import StepDone, TaskEnded, TaskStarted
from hypermnesia.training.graphs import SIGHTS, Graphs
from hypermnesia.training.loop import Fit
from hypermnesia.training.step import Held, StepRequest, by_graph, others

torch.set_num_threads(1)
EVERY = (*ROWS, *OF_NUMBERS, *FILLED_AT_TASK_ENDS)
each_row = pytest.mark.parametrize("row", EVERY, ids=lambda row: row.name)
each_trained_row = pytest.mark.parametrize(
    "row", [row for row in EVERY if row.steps], ids=lambda row: row.name
)


def make(row: Row, *more: str, seed: int = 0) -> Fit:
    return build_run(resolve(row.benchmark, row.approach, words_of(row, *more)), seed)


def maker(row: Row, *more: str) -> Make:
    return lambda: make(row, *more)


def test_every_approach_has_a_row() -> None:
    assert {row.approach for row in ROWS} == set(APPROACHES)
    assert len(ROWS) == len(APPROACHES)
    telling = {name for name, one in APPROACHES.items() if one.method_class().tells_numbers}
    assert {row.approach for row in OF_NUMBERS} == telling


@each_row
def test_same_seed_same_numbers(row: Row) -> None:
    first, again = make(row), make(row)
    small.all_of([first, again])
    assert_equal_runs(first, again)
    assert first.records.steps == row.steps
    other = make(row, seed=1)
    small.all_of([other])
    ours, theirs = first.learner.model.stored(), other.learner.model.stored()
    assert any(not torch.equal(value, theirs[name]) for name, value in ours.items())


@each_row
def test_it_resumes_exactly(row: Row, tmp_path: Path) -> None:
    """Dropped at its first step, at a task's end, at its last moment and at random ones; equal to the last bit."""
    expected, places = finished(maker(row))
    chosen = random.Random(row.name).sample(range(1, places - 1), min(2, places - 2))
    ends = [place for place, event in enumerate(kinds(make(row))) if event is TaskEnded]
    stops = sorted({0, random.Random(row.name).choice(ends), places - 1, *chosen})
    assert_equal_runs(resumed(maker(row), stops, tmp_path), expected)


def kinds(run: Fit) -> list[type]:
    """The kinds of those events at which it can be saved."""
    return [type(event) for event in run if isinstance(event, StepDone | TaskEnded)]


@pytest.mark.parametrize(
    ("row", "weights"),
    [(row, weights) for row in EVERY for weights in row.weights],
    ids=lambda value: value.name if isinstance(value, Row) else value,
)
def test_it_runs_on_any_weights(row: Row, weights: str) -> None:
    own = row.weights == (weights,)
    more = () if own else (f"weights={weights}", *GENERATORS[weights])
    if row.approach == "latent-replay" and weights != "plain":
        more = (*more, "weights.cut=auto")
    run = make(row, *more)
    events = iter(run)
    assert any(isinstance(event, TaskStarted) for event in events)  # up to the first one
    before = {name: value.clone() for name, value in run.learner.model.stored().items()}
    for _ in events:
        pass
    after = run.learner.model.stored()
    assert any(not torch.equal(value, after[name]) for name, value in before.items()) == bool(row.steps)
    rows = run.records.rows["task"]
    least = 0 if row in ROWS else -math.inf  # R² has none
    assert all(least <= value <= 1 for value in rows[-1] if value is not None)


@pytest.mark.parametrize(
    ("row", "same"),
    [(row, same) for row in ROWS for same in row.same],
    ids=lambda value: value.approach if isinstance(value, Row) else " ".join(value.words) or "as it is",
)
def test_what_it_says_it_equals(row: Row, same: Same) -> None:
    ours, theirs = make(row, *same.words), make(Row(same.approach), *same.others)
    small.all_of([ours, theirs])
    weights = {
        name: value
        for name, value in theirs.learner.model.stored().items()
        if not name.startswith("generator.")
    }
    found = ours.learner.model.stored()
    tolerance = 0.0 if same.exact else 1e-4
    for task in range(theirs.learner.model.num_tasks):
        weights |= {f"{task}.{n}": v for n, v in theirs.learner.model.task_state(task).items()}
        found |= {f"{task}.{n}": v for n, v in ours.learner.model.task_state(task).items()}
    for name, value in weights.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    if same.exact:
        assert ours.records.rows == theirs.records.rows


# --------------------------------------------------------------------------------------- every loss stacks and is one graph


class Midway:
    """A run in the middle of its second task or later, about to take a step."""

    def __init__(self, row: Row, seed: int) -> None:
        run = make(row, seed=seed)
        events = iter(run)
        for event in events:
            if isinstance(event, StepDone) and event.terms and event.task == self._task(run, row):
                break
        events.close()  # pyright: ignore[reportAttributeAccessIssue]
        learner, task = run.learner, run.stream.tasks[run.learner.task]
        data = learner.phase.data
        part = task.train if data is None else data(run.learner.state, learner)
        raw, y = part.batch(torch.arange(6))
        x = learner.preprocess(raw, None)
        self.batch = Batch(x, y, learner.targets(y, task.index), task.index, raw)
        self.run, self.state, self.model = run, run.learner.state, learner.models[learner.phase.model]
        self.draw = run.method.draw(run.learner.state, learner, self.batch, run.rngs["method"])

    def request(self) -> StepRequest:
        run = self.run
        optimizer = run.optimizers[run.learner.phase.model]
        rng = run.rngs["method"]
        return StepRequest(
            Net(self.model), run.learner, self.batch, rng, optimizer, 99, lambda: "now", self.draw
        )

    def held(self) -> Held:
        params = Net(self.model).params
        own = params, others(self.model, params)
        return own, flat(*own)

    def whole_gradients(self) -> Gradients:
        """With a look-ahead or a projection, where the method has one."""
        run = self.run
        optimizer = run.optimizers[run.learner.phase.model]

        def ahead(gradients: Mapping[str, Tensor], plain: bool = False) -> Tensors:
            return candidate(optimizer, gradients, plain=plain)

        return run.method.gradients(Net(self.model), self.state, self.batch, self.draw, ahead)

    @staticmethod
    def _task(run: Fit, row: Row) -> int:
        if row.approach == "gdumb":
            return len(run.stream.tasks) - 1  # it trains at the end only
        return min(1, len(run.stream.tasks) - 1)

    def gradients(self) -> tuple[Tensor, Tensors]:
        net = Net(self.model)
        value, _ = self.run.method.loss(net, self.state, self.batch, self.draw)
        return value.detach(), net.gradients(value)


@each_trained_row
def test_two_seeds_are_one_stacked_program(row: Row) -> None:
    """`vmap` over parameters, buffers, state, batch, draw and the method's numbers gives each seed's own gradients."""
    pair = [Midway(row, seed) for seed in (0, 1)]
    first = pair[0]
    params = stacked(pair, lambda one: dict(one.model.named_parameters()))
    buffers = stacked(pair, lambda one: dict(one.model.named_buffers()))
    inputs = [flat(one.state, one.batch, one.draw).leaves for one in pair]
    tensors = [torch.stack(both) for both in zip(*inputs, strict=True)]
    method = first.run.method
    numbers = {place: value for place, value in _walk(method, ()) if type(value) is float}

    def loss(params: Tensors, buffers: Tensors, tensors: list[Tensor], given: list[Tensor]) -> Tensor:
        state, batch, draw = rebuilt((first.state, first.batch, first.draw), iter(tensors))
        own = with_numbers(method, dict(zip(numbers, given, strict=True)))
        return own.loss(Net(first.model, params, buffers), state, batch, draw)[0]

    given = [torch.full((2,), value) for value in numbers.values()]
    together = vmap(grad(loss))(params, buffers, tensors, given)
    for i, one in enumerate(pair):
        for name, gradient in one.gradients()[1].items():
            torch.testing.assert_close(together[name][i], gradient, rtol=1e-3, atol=1e-5)


def stacked(pair: list[Midway], of: Callable[[Midway], dict[str, Tensor]]) -> Tensors:
    sides = [of(one) for one in pair]
    return {n: torch.stack([s[n].detach() for s in sides]) for n, v in sides[0].items() if not v.is_meta}


@each_trained_row
def test_its_gradients_are_one_graph(row: Row) -> None:
    """Recorded in one run, the operations give that run's gradients bit by bit, and those of another run as well."""
    graphs = Graphs("recording")
    one, other = Midway(row, 0), Midway(row, 1)
    for _ in range(SIGHTS + 1):
        found = by_graph(graphs, one.run.method, one.request(), one.held())
    assert (graphs.forms, graphs.recorded) == (1, 1)
    assert_equal(found, one.whole_gradients())
    found = by_graph(graphs, other.run.method, other.request(), other.held())
    assert (graphs.forms, graphs.recorded) == (1, 1)
    assert_equal(found, other.whole_gradients())


def assert_equal(ours: Gradients, theirs: Gradients) -> None:
    assert ours[0].keys() == theirs[0].keys()
    for name, value in theirs[0].items():
        torch.testing.assert_close(ours[0][name], value, rtol=0, atol=0, msg=name)
    assert torch.equal(ours[1], theirs[1])
    assert {n: float(t) for n, t in ours[2].terms.items()} == {
        n: float(t) for n, t in theirs[2].terms.items()
    }


def test_rows_name_their_words_once() -> None:
    row = BY_NAME["hnet"]
    words = words_of(row, "generator.chunk=7")
    assert words.count("generator.chunk=7") == 1
    assert len({word.partition("=")[0] for word in words}) == len(words)
    with pytest.raises(HypermnesiaError, match="unknown key 'nonsense'"):
        make(row, "nonsense=1")
