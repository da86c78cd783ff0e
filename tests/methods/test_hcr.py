"""HCR: every term against loops, the numbers of the specification, and what an empty set of triplets gives."""

import math
from dataclasses import replace

import pytest
import torch
from methods.helpers import (
    Midstep,
    assert_same,
    fill,
    loss_and_gradients,
    make_batch,
    make_learner,
    slow_rows,
)
from torch import Tensor

from hypermnesia.core.rng import generator
from hypermnesia.methods.hcr import HCR, dist, kern, kernel, neigh, rank, rank_and_dist, released_dist
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay

METHOD = HCR(alpha=0.3, beta=0.8, gamma=0.02, rank=0.6, memory=MemoryOptions(size=18, batch_size=9))

# ------------------------------------------------------------------------------ the formulas, written out with loops


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a / a.norm() - b / b.norm()).norm()


def triplets(rows: list[Tensor], y: list[int]) -> list[tuple[int, int, int]]:
    found, rows = [], [row.detach() for row in rows]
    for a in range(len(y)):
        for p in range(len(y)):
            for n in range(len(y)):
                if a != p and y[a] == y[p] != y[n]:
                    gap = float(distance(rows[a], rows[n]) - distance(rows[a], rows[p]))
                    if 0 < gap <= 0.2:
                        found.append((a, p, n))
    return found


def slow_kern(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    def similarity(a: Tensor, b: Tensor) -> Tensor:
        cosine = (a / a.norm()) @ (b / b.norm())
        return math.exp(-4) * (1 + 4 * cosine + 16 / 2 * cosine**2 + 64 / 6 * cosine**3)

    m, total = len(student), torch.zeros(())
    for i in range(m):
        for j in range(m):
            total = total + (similarity(student[i], student[j]) - similarity(teacher[i], teacher[j])) ** 2
    return total / m**2


def slow_neigh(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    total = torch.zeros(())
    for i in range(len(student) - 1):
        for c in range(len(student[0])):
            here, there = student[i][c] - teacher[i][c], student[i + 1][c] - teacher[i + 1][c]
            total = total + here.abs() * there.abs()
    return total / (len(student) - 1)


def slow_rank(student: list[Tensor], y: list[int]) -> Tensor:
    terms = []
    for a, p, n in triplets(student, y):
        near, far = distance(student[a], student[p]), distance(student[a], student[n])
        terms.append(-torch.log(torch.exp(-near) / (torch.exp(-near) + torch.exp(-far))))
    return torch.stack(terms).mean()


def slow_divergences(student: list[Tensor], teacher: list[Tensor], y: list[int]) -> Tensor:
    terms = []
    for a, p, n in triplets(student, y):
        s, q = (
            torch.sigmoid((distance(rows[a], rows[n]) - distance(rows[a], rows[p])) / 4)
            for rows in (student, teacher)
        )
        terms.append(q * torch.log(q / s) + (1 - q) * torch.log((1 - q) / (1 - s)))
    return torch.stack(terms)


def comparable(learner: Learner, replay: Replay) -> tuple[list[Tensor], list[Tensor]]:
    """(students, teachers): logits by global class, 0 for classes that a sample's task has no output for."""
    head = learner.model.head
    assert replay.logits is not None and head is not None
    owners = [b.task for b in replay.blocks for _ in range(b.start, b.stop)]
    if head.kind == "shared":
        return slow_rows(learner, replay), list(replay.logits)
    students, teachers = [], []
    for row, remembered, owner in zip(slow_rows(learner, replay), replay.logits, owners, strict=True):
        own = head.outputs(owner)
        for values, found in ((row, students), (remembered, teachers)):
            by_class = {c: values[i] for i, c in enumerate(own)}
            found.append(torch.stack([by_class.get(c, torch.zeros(())) for c in range(head.num_classes)]))
    return students, teachers


SETTINGS = [
    {"task": 2},
    {
        "task": 2,
        "head": "per_task",
        "classes": ((0, 1), (1, 2, 0), (2, 0)),
    },  # classes return under other weights
    {"task": 2, "role": "per_task"},
]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("joint", [True, False])
def test_one_step_equals_the_formula_written_out(setting: dict, joint: bool) -> None:
    method = replace(METHOD, joint_forward=joint)
    step = Midstep(method, **setting)
    learner = step.learner
    a, b, c, d = step.draw = method.draw(step.state, learner, step.batch, generator(5))
    student, teacher = comparable(learner, a)
    expected = torch.stack(step.own()).mean() + 0.8 * torch.stack(step.again(b)).mean()
    expected = expected + 0.3 * (slow_kern(student, teacher) + slow_neigh(student, teacher))
    expected = expected + 0.6 * slow_rank(comparable(learner, c)[0], c.y.tolist())
    student, teacher = comparable(learner, d)
    expected = expected + 0.02 * 1000 * slow_divergences(student, teacher, d.y.tolist()).mean()
    step.assert_loss(expected, tol=2e-5)


# --------------------------------------------------------------------------------- the numbers of the specification


def test_kern_and_neigh_by_hand() -> None:
    o = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    z = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    assert float(neigh(o, z)) == pytest.approx(0.5)
    assert float(kern(o, z)) == pytest.approx(0.0192306, abs=1e-7)
    torch.testing.assert_close(kernel(o).diagonal(), torch.full((3,), 0.43347), atol=1e-5, rtol=0)
    assert float(kernel(o)[0, 1]) == pytest.approx(0.018316, abs=1e-6)
    assert float(kernel(o)[0, 2]) == pytest.approx(0.212456, abs=1e-6)


def on_the_circle(*chords: float) -> Tensor:
    """Points of the unit circle at the given signed distances from (1, 0), itself the first."""
    angles = torch.tensor([0.0, *(math.copysign(2 * math.asin(abs(c) / 2), c) for c in chords)])
    return torch.stack([angles.cos(), angles.sin()], 1)


def test_rank_and_dist_by_hand() -> None:
    y = torch.tensor([0, 0, 1])
    student = on_the_circle(
        0.5, -0.6
    )  # one semi-hard triplet: anchor 0; from anchor 1 the negative is too far
    assert float(rank(student, y)) == pytest.approx(0.6443967, abs=1e-6)
    teacher = on_the_circle(0.5, -1.0)
    assert float(dist(student, teacher, y)) == pytest.approx(1.24718, abs=2e-4)
    assert float(released_dist(student, teacher, y)) == pytest.approx(0.62359, abs=1e-4)


def test_one_pass_over_all_triplets_is_both_terms() -> None:
    for m in (1, 2, 9):
        given = [torch.randn(m, 5, generator=generator(m, "o", i)) * 0.1 + torch.eye(m, 5) for i in range(3)]
        y, z = (torch.randint(3, (m,), generator=generator(m, "y", i)) for i in range(2))
        first, second = (v.requires_grad_() for v in given[:2])
        apart = rank(first, y), dist(second, given[2], z)
        together = rank_and_dist(first, second, given[2], y, z)
        torch.testing.assert_close(together, apart)
        if m == 9:
            assert all(bool(term > 0) for term in apart)
        ones = torch.autograd.grad(sum(apart), [first, second])
        torch.testing.assert_close(torch.autograd.grad(sum(together), [first, second]), ones)


def test_an_unchanged_network_pays_nothing() -> None:
    z = torch.randn(8, 4, generator=generator(0))
    o = z.clone().requires_grad_()
    y = torch.arange(8) % 2
    assert triplets(list(z), y.tolist())
    for value in (kern(o, z), neigh(o, z), dist(o, z, y)):
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, o)
        torch.testing.assert_close(gradient, torch.zeros_like(o), atol=1e-4, rtol=0)


def test_only_neigh_notices_the_scale() -> None:
    o, z = torch.randn(2, 8, 4, generator=generator(1))
    y = torch.arange(8) % 2
    assert triplets(list(o), y.tolist())
    torch.testing.assert_close(kern(2 * o, z), kern(o, z))
    torch.testing.assert_close(rank(2 * o, y), rank(o, y))
    torch.testing.assert_close(dist(2 * o, z, y), dist(o, z, y))
    assert float(neigh(2 * o, z)) != pytest.approx(float(neigh(o, z)), rel=0.01)


NO_TRIPLETS = {
    "one class": (torch.randn(6, 3, generator=generator(2)), torch.zeros(6, dtype=torch.int64)),
    "far classes": (
        torch.tensor([[1.0, 0.01], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.01]]),
        torch.tensor([0, 0, 1, 1]),
    ),
    "one of each": (torch.randn(4, 3, generator=generator(3)), torch.arange(4)),
    "equal logits": (torch.ones(4, 3), torch.tensor([0, 0, 1, 1])),
    "zero logits": (torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])),
    "one sample": (torch.randn(1, 3, generator=generator(4)), torch.tensor([0])),
}


@pytest.mark.parametrize("case", NO_TRIPLETS)
def test_without_triplets_rank_and_dist_are_0(case: str) -> None:
    logits, y = NO_TRIPLETS[case]
    teacher = torch.randn(logits.shape, generator=generator(9))
    o = logits.clone().requires_grad_()
    for value in (rank(o, y), dist(o, teacher, y)):
        assert value.item() == 0
        (gradient,) = torch.autograd.grad(value, o)
        assert torch.equal(gradient, torch.zeros_like(o))
    for value in (kern(o, teacher), neigh(o, teacher)):
        assert value.isfinite()
        assert torch.autograd.grad(value, o)[0].isfinite().all()


def test_a_step_without_triplets_is_finite() -> None:
    """Only the first class has come by."""
    learner = make_learner(classes=((0,), (1,)), task=0)
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = METHOD.draw(state, learner, batch, generator(0))
    value, gradients = loss_and_gradients(METHOD, learner, state, batch, draw)
    assert value.isfinite() and all(g.isfinite().all() for g in gradients.values())


def test_correlations_are_computed_in_full_precision_under_autocast() -> None:
    o, z = torch.randn(2, 8, 4, generator=generator(1))
    y = torch.arange(8) % 2
    plain = [kern(o, z), neigh(o, z), rank(o, y), dist(o, z, y)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close([kern(o, z), neigh(o, z), rank(o, y), dist(o, z, y)], plain)


def test_the_margin_is_part_of_the_definition() -> None:
    y = torch.tensor([0, 0, 1])
    assert float(rank(on_the_circle(0.5, -0.71), y)) == 0  # by 0.21 farther
    assert float(rank(on_the_circle(0.5, -0.69), y)) > 0
    assert float(rank(on_the_circle(0.5, -0.49), y)) == 0  # nearer


# ------------------------------------------------------------------------------------------------ terms and options


def test_terms_add_up_to_the_loss() -> None:
    learner = make_learner(task=2)
    state, batch = fill(METHOD, learner), make_batch(learner)
    value, aux = METHOD.loss(
        Net(learner.model), state, batch, METHOD.draw(state, learner, batch, generator(5))
    )
    assert list(aux.terms) == ["cross_entropy", "icr", "er", "rank", "dist"]
    torch.testing.assert_close(torch.stack(list(aux.terms.values())).sum(), value.detach())


def test_released_dist_shows_in_the_loss_and_moves_nothing() -> None:
    learner = make_learner(task=2)
    state, batch = fill(METHOD, learner), make_batch(learner)
    draw = tuple(METHOD.draw(state, learner, batch, generator(5)))
    assert draw[3] is not None
    without = loss_and_gradients(replace(METHOD, gamma=0), learner, state, batch, draw[:3] + (None,))
    released = loss_and_gradients(replace(METHOD, released_ccr=True), learner, state, batch, draw)
    ours = loss_and_gradients(METHOD, learner, state, batch, draw)

    student, teacher = comparable(learner, draw[3])
    divergences = slow_divergences(student, teacher, draw[3].y.tolist())
    torch.testing.assert_close(released[0] - without[0], 0.02 * 500 * divergences.sum(), rtol=1e-3, atol=1e-5)
    assert_same((without[0], released[1]), without)
    assert any((ours[1][name] - g).abs().max() > 1e-5 for name, g in released[1].items())


def test_draws_are_independent() -> None:
    learner = make_learner()
    state, batch, rng = fill(METHOD, learner), make_batch(learner), generator(0)
    for _ in range(5):
        draw = METHOD.draw(state, learner, batch, rng)
        indices = {tuple(replay.index.tolist()) for replay in draw if replay is not None}
        assert len(indices) == 4
