"""Accuracy matrices with known answers, and properties of every metric."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.statistics import paired_difference, statistics

# After each of four tasks, the accuracy in percent on each. Every library's own code was run on this matrix.
R = [[90, 30, 20, 10], [70, 85, 25, 15], [94, 88, 88, 20], [60, 91, 50, 92]]
UNTRAINED = [10, 10, 10, 10]
BY_TASK = [
    metrics.average_accuracy,
    metrics.average_incremental_accuracy,
    metrics.forgetting,
    metrics.forgetting_first_last,
    metrics.backward_transfer,
    metrics.learning_accuracy,
]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("acc_gem", 293 / 4),
        ("aia_lucir", (90 + 155 / 2 + 270 / 3 + 293 / 4) / 4),
        ("a_diaz", 808 / 10),
        ("la_mer", 355 / 4),
        ("forgetting_chaudhry18", 23.0),  # also Renate's and Continuum's
        ("forgetting_mammoth", 24.0),  # also PyCIL's and PILOT's
        ("forgetting_avalanche", 62 / 3),
        ("forgetting_libcontinual", 8.0),
        ("bwt_gem", -62 / 3),  # also Renate's, Mammoth's and Avalanche's
        ("bwt_all_pairs", -12.5),  # Continuum's
        ("bwt_libcontinual", -10 / 3),
        ("bwt_plus", 0.0),
        ("fwt_gem", 15.0),  # also Renate's, Mammoth's and Avalanche's
        ("fwt_no_baseline", 25.0),  # Continuum's
        ("fwt_diaz", 20.0),
    ],
)
def test_the_matrix_that_every_library_was_asked_for(name: str, value: float) -> None:
    assert metrics.variants(R, UNTRAINED)[name] == pytest.approx(value)


def test_remembering_is_defined_on_fractions() -> None:
    found = metrics.variants((np.array(R) / 100).tolist())
    assert found["rem"] == pytest.approx(1 - 0.125)
    gain = metrics.variants([[0.5, 0.0], [0.7, 0.9]])
    assert (gain["bwt_plus"], gain["rem"]) == (pytest.approx(0.2), 1.0)


def test_summary_has_the_keys_of_a_result_and_the_numbers_of_the_functions() -> None:
    assert metrics.summarise(R, UNTRAINED) == {
        "matrix": R,
        "average_accuracy": metrics.average_accuracy(R),
        "average_incremental_accuracy": metrics.average_incremental_accuracy(R),
        "forgetting": metrics.forgetting(R),
        "backward_transfer": metrics.backward_transfer(R),
        "forward_transfer": metrics.forward_transfer(R, UNTRAINED),
        "learning_accuracy": metrics.learning_accuracy(R),
    }
    assert metrics.forgetting(R) == pytest.approx(23.0)
    assert metrics.forward_transfer(R, UNTRAINED) == pytest.approx(15.0)


def test_transfer_of_hypermask() -> None:
    """Finals 35, 40, 25, 90; just trained 80, 85, 70, 90; next task 20, 20, 25 and untrained 15, 18, 17."""
    a = [[80, 20, None, None], [None, 85, 20, None], [None, None, 70, 25], [35, 40, 25, 90]]
    assert metrics.backward_transfer(a) == pytest.approx(-45)
    assert metrics.forward_transfer(a, [None, 15, 18, 17]) == pytest.approx(5)
    assert metrics.forgetting(a) is None  # the best accuracy in between is not known


def test_forgetting_ignores_rows_before_a_task_was_learned() -> None:
    zero_shot_was_better = [[50, 90, 0], [40, 60, 0], [40, 50, 70]]
    assert metrics.forgetting(zero_shot_was_better) == pytest.approx((50 - 40 + 60 - 50) / 2)
    assert metrics.variants(zero_shot_was_better)["forgetting_mammoth"] == pytest.approx((10 + 40) / 2)


def test_forgetting_is_negative_where_later_tasks_helped_and_mammoths_is_not() -> None:
    a = [[0.5, 0.0], [0.8, 0.9]]
    assert metrics.forgetting(a) == pytest.approx(-0.3)
    assert metrics.variants(a)["forgetting_mammoth"] == 0.0


def test_intransigence_is_what_the_last_task_misses_of_joint_training() -> None:
    assert metrics.intransigence(R, 95) == pytest.approx(3)
    assert metrics.intransigence(R, None) is None


def test_a_run_that_stopped_early_is_a_run_of_fewer_tasks() -> None:
    stopped: metrics.Matrix = [R[0], R[1], R[2], None]
    shorter = [row[:3] for row in R[:3]]
    assert metrics.summarise(stopped, UNTRAINED) == {
        **metrics.summarise(shorter, UNTRAINED),
        "matrix": [*R[:3], [None] * 4],
    }
    assert metrics.variants(stopped, UNTRAINED) == metrics.variants(shorter, UNTRAINED)


def test_entries_above_the_diagonal_are_needed_only_for_forward_transfer() -> None:
    lower = [[90], [70, 85], [94, 88, 88], [60, 91, 50, 92]]
    array = np.where(np.tri(4, dtype=bool), np.array(R, dtype=float), np.nan)
    whole = metrics.summarise(R, UNTRAINED)
    for known in (lower, array):
        found = metrics.summarise(known, UNTRAINED)
        assert found["forward_transfer"] is None
        assert metrics.variants(known)["forgetting_mammoth"] == pytest.approx(24.0)
        assert found["matrix"][0] == [90, None, None, None]
        for key in ("average_accuracy", "forgetting", "backward_transfer", "learning_accuracy"):
            assert found[key] == whole[key]


def test_the_last_row_alone_gives_only_its_average() -> None:
    found = metrics.summarise([None, None, None, R[3]], UNTRAINED)
    assert found.pop("average_accuracy") == pytest.approx(293 / 4)
    assert found.pop("matrix") == [[None] * 4] * 3 + [R[3]]
    assert set(found.values()) == {None}


@pytest.mark.parametrize("nothing", [[], [[]], [None, None], [[None, None], [None, None]], np.empty((0, 3))])
def test_without_entries_everything_is_undefined(nothing: Any) -> None:
    found = metrics.summarise(nothing, [0.1, 0.1])
    found.pop("matrix")
    assert set(found.values()) == {None}
    assert set(metrics.variants(nothing, [0.1, 0.1]).values()) == {None}


def test_one_task_has_accuracies_but_no_transfer() -> None:
    assert metrics.summarise([[0.9]], [0.1]) == {
        "matrix": [[0.9]],
        "average_accuracy": 0.9,
        "average_incremental_accuracy": 0.9,
        "forgetting": None,
        "backward_transfer": None,
        "forward_transfer": None,
        "learning_accuracy": 0.9,
    }


def test_tests_that_are_not_the_tasks_have_only_averages() -> None:
    by_class = [[0.8, 0.0, 0.0], [0.6, 0.9, 0.0]]
    everything = metrics.summarise(by_class)
    assert everything["average_accuracy"] == pytest.approx(0.5)
    assert everything["average_incremental_accuracy"] == pytest.approx((0.8 / 3 + 0.5) / 2)
    seen = metrics.summarise(by_class, seen=[[0], [0, 1]])
    assert seen["average_accuracy"] == pytest.approx(0.75)
    for key in ("forgetting", "backward_transfer", "forward_transfer", "learning_accuracy"):
        assert everything[key] is None
    assert set(metrics.variants(by_class).values()) == {None}


def test_seen_tells_classes_from_tasks_in_a_square_matrix() -> None:
    a = [[0.8, 0.4], [0.6, 0.9]]
    by_class = metrics.summarise(a, seen=[[0, 1], [0, 1]])
    assert by_class["average_incremental_accuracy"] == pytest.approx((0.6 + 0.75) / 2)
    assert by_class["learning_accuracy"] is None
    assert metrics.summarise(a, seen=[[0], [0, 1]]) == metrics.summarise(a)


def test_missing_classes_are_those_met_before_and_not_in_the_last_task() -> None:
    a = [[0.9, None, None], [0.5, 0.8, None], [0.2, 0.6, 0.7]]
    seen, present = [[0], [0, 1], [0, 1, 2]], [[0], [0, 1], [2]]
    assert metrics.missing_class_accuracy(a, seen, present) == pytest.approx(0.4)
    assert metrics.missing_class_accuracy(a[:2], seen, present) is None, "none is missing"
    found = metrics.summarise(a, None, seen, present)
    assert found["missing_class_accuracy"] == pytest.approx(0.4)
    assert "missing_class_accuracy" not in metrics.summarise(a)


def test_joint_training_is_one_row_over_all_tests() -> None:
    found = metrics.summarise([[0.9, 0.8, 0.7]], seen=[[0, 1, 2]])
    assert found["average_accuracy"] == pytest.approx(0.8)
    assert found["learning_accuracy"] is None


def test_seen_must_name_existing_tests_for_every_row() -> None:
    with pytest.raises(
        ValueError, match=r"seen must list tests of 0..1 for each of 2 rows, got \[\[0\], \[0, 2\]\]"
    ):
        metrics.average_accuracy([[0.5, 0.5], [0.5, 0.5]], seen=[[0], [0, 2]])
    with pytest.raises(ValueError, match=r"for each of 2 rows, got \[\[0\]\]"):
        metrics.average_accuracy([[0.5, 0.5], [0.5, 0.5]], seen=[[0]])
    with pytest.raises(ValueError, match=r"tests of 0..0 for each of 2 rows, got \[\[0\], \[0, 1\]\]"):
        metrics.learning_accuracy([[0.5], [0.5]], seen=[[0], [0, 1]])


def test_infinite_accuracies_are_refused() -> None:
    with pytest.raises(ValueError, match="accuracies must be finite"):
        metrics.average_accuracy([[math.inf]])


# --- properties ---

fractions = st.floats(0, 1, allow_nan=False)
entries = st.one_of(st.none(), fractions)


def squares(cell: st.SearchStrategy[Any], smallest: int = 1) -> st.SearchStrategy[list[list[Any]]]:
    return st.integers(smallest, 6).flatmap(
        lambda n: st.lists(st.lists(cell, min_size=n, max_size=n), min_size=n, max_size=n)
    )


@given(squares(fractions, smallest=2))
def test_accuracy_and_forgetting_add_up_to_learning_accuracy(a: list[list[float]]) -> None:
    accuracy, lost = metrics.average_accuracy(a), metrics.forgetting_first_last(a)
    assert accuracy is not None and lost is not None
    assert accuracy + (len(a) - 1) / len(a) * lost == pytest.approx(metrics.learning_accuracy(a))


@given(squares(fractions, smallest=2))
def test_bounds_and_order(a: list[list[float]]) -> None:
    found = {name: value for name, value in metrics.variants(a, [0.0] * len(a)).items() if value is not None}
    assert all(-1 - 1e-9 <= value <= 1 + 1e-9 for value in found.values())
    assert found["forgetting_avalanche"] <= found["forgetting_chaudhry18"] + 1e-9
    assert max(0.0, found["forgetting_chaudhry18"]) <= found["forgetting_mammoth"] + 1e-9
    assert found["fwt_gem"] == pytest.approx(found["fwt_no_baseline"])


@given(squares(fractions), st.randoms(use_true_random=False))
def test_the_average_does_not_depend_on_the_order_of_the_tests(a: list[list[float]], random: Any) -> None:
    order = list(range(len(a)))
    random.shuffle(order)
    shuffled = [[row[j] for j in order] for row in a]
    assert metrics.average_accuracy(shuffled) == pytest.approx(metrics.average_accuracy(a))


@given(squares(fractions, smallest=2), st.data())
def test_rows_between_do_not_touch_transfer(a: list[list[float]], data: st.DataObject) -> None:
    """Below the diagonal and above the last row, only forgetting and the averages over time look."""
    changed = [list(row) for row in a]
    for t in range(1, len(a) - 1):
        for j in range(t):
            changed[t][j] = data.draw(fractions)
    for metric in (metrics.average_accuracy, metrics.backward_transfer, metrics.learning_accuracy):
        assert metric(changed) == metric(a)


@given(
    st.lists(st.one_of(st.none(), st.lists(entries, max_size=6)), max_size=6), st.lists(entries, max_size=6)
)
def test_whatever_is_missing_the_answer_is_a_number_or_none(
    a: list[Any], baseline: list[float | None]
) -> None:
    summary = metrics.summarise(a, baseline)
    del summary["matrix"]
    for value in [*summary.values(), *metrics.variants(a, baseline).values()]:
        assert value is None or math.isfinite(value)


@given(squares(entries))
def test_a_number_is_given_only_if_the_missing_entries_cannot_change_it(a: list[list[float | None]]) -> None:
    low, high = ([[value if v is None else v for v in row] for row in a] for value in (0.0, 1.0))
    if any(v is not None for v in a[-1]):  # else the run counts as shorter
        for metric in BY_TASK:
            if (value := metric(a)) is not None:
                assert metric(low) == metric(high) == value


# --- during training ---

# Two evaluations in each of three tasks.
TRACE = [[0.6, 0, 0], [0.9, 0, 0], [0.5, 0.2, 0], [0.8, 0.8, 0], [0.6, 0.3, 0.5], [0.7, 0.9, 0.7]]
LEARNING = [0, 0, 1, 1, 2, 2]


def test_anytime_metrics_by_hand() -> None:
    found = metrics.anytime(TRACE, LEARNING)
    assert found["average_anytime_accuracy"] == pytest.approx(
        (0.6 + 0.9 + 0.35 + 0.8 + 1.4 / 3 + 2.3 / 3) / 6
    )
    lowest = (0.5 + 0.3) / 2  # test 0 after task 0, test 1 after task 1
    assert metrics.min_accuracy(TRACE, LEARNING) == pytest.approx(lowest)
    assert found["worst_case_accuracy"] == pytest.approx(0.7 / 3 + 2 / 3 * lowest)
    # task 1, test 0: 0.9, 0.5, 0.8; task 2, test 0: 0.8, 0.6, 0.7; task 2, test 1: 0.8, 0.3, 0.9
    assert found["stability_gap"] == pytest.approx((0.3 + 0.1 + 0.5) / 3)


def test_one_evaluation_per_task_end_shows_no_gap() -> None:
    assert metrics.stability_gap(R, [0, 1, 2, 3]) == 0.0
    assert metrics.average_anytime_accuracy(R, [0, 1, 2, 3]) == metrics.average_incremental_accuracy(R)


def test_anytime_metrics_of_one_task_and_of_none() -> None:
    assert metrics.anytime(TRACE[:2], [0, 0]) == {
        "average_anytime_accuracy": pytest.approx(0.75),
        "worst_case_accuracy": 0.9,
        "stability_gap": None,
    }
    assert metrics.min_accuracy(TRACE[:2], [0, 0]) is None
    assert set(metrics.anytime([], []).values()) == {None}


def test_anytime_average_over_the_classes_seen() -> None:
    found = metrics.anytime([[0.5, 0.7], [0.9, 0.7]], [0, 1], seen=[[1], [0, 1]])
    assert found == {
        "average_anytime_accuracy": pytest.approx((0.7 + 0.8) / 2),
        "worst_case_accuracy": None,
        "stability_gap": None,
    }


def test_evaluations_need_their_tasks_in_order() -> None:
    with pytest.raises(
        ValueError, match=r"each of the 2 evaluations needs the task being learned, in order; got \[1, 0\]"
    ):
        metrics.stability_gap([[0.5], [0.5]], [1, 0])
    with pytest.raises(ValueError, match="each of the 2 evaluations"):
        metrics.average_anytime_accuracy([[0.5], [0.5]], [0])


@given(
    st.lists(st.integers(0, 3), max_size=8)
    .map(sorted)
    .flatmap(
        lambda tasks: st.tuples(
            st.just(tasks), st.lists(st.lists(entries, max_size=4), min_size=len(tasks), max_size=len(tasks))
        )
    )
)
def test_anytime_metrics_survive_any_hole(trace: tuple[list[int], list[list[float | None]]]) -> None:
    tasks, rows = trace
    found = metrics.anytime(rows, tasks)
    assert all(value is None or 0 <= value <= 1 + 1e-9 for value in found.values())


# --- over seeds ---


def test_statistics_of_three_seeds() -> None:
    found = statistics([1.0, 2.0, 3.0])
    assert found == {"mean": 2.0, "std": 1.0, "ci95": pytest.approx(4.302652729911275 / 3**0.5), "n": 3}


@pytest.mark.parametrize(
    ("values", "mean", "n"), [([], None, 0), ([None], None, 0), ([0.5, None, math.nan], 0.5, 1)]
)
def test_spread_needs_two_values(values: list[float | None], mean: float | None, n: int) -> None:
    assert statistics(values) == {"mean": mean, "std": None, "ci95": None, "n": n}


@given(st.lists(fractions, min_size=2, max_size=12))
def test_the_interval_is_scipys(values: list[float]) -> None:
    found = statistics(values)
    scale = stats.sem(values)
    assert found["ci95"] == pytest.approx(stats.t.ppf(0.975, len(values) - 1) * scale, abs=1e-12)
    assert statistics(values[::-1])["mean"] == pytest.approx(found["mean"])


@given(st.lists(st.tuples(fractions, fractions), min_size=2, max_size=10))
def test_the_paired_test_is_scipys(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    found = paired_difference(a, b)
    if found["std"] is not None and found["std"] > 1e-9:
        assert found["p"] == pytest.approx(float(stats.ttest_rel(a, b).pvalue), abs=1e-9)
    assert paired_difference(b, a)["p"] == found["p"]
    assert found["mean"] == pytest.approx(float(np.mean(a) - np.mean(b)), abs=1e-12)


def test_pairs_with_an_undefined_side_are_left_out() -> None:
    found = paired_difference([0.9, None, 0.8, 0.7], [0.5, 0.5, None, 0.6])
    assert (found["n"], found["mean"]) == (2, pytest.approx(0.25))
    assert paired_difference([0.9], [0.8])["p"] is None


def test_differences_without_spread() -> None:
    assert paired_difference([0.5, 0.5], [0.5, 0.5])["p"] == 1.0
    assert paired_difference([0.5, 0.5], [0.25, 0.25])["p"] == 0.0


def test_pairs_must_be_pairs() -> None:
    with pytest.raises(
        ValueError, match="paired_difference: 2 values against 1; give one value of each side per seed"
    ):
        paired_difference([1.0, 2.0], [1.0])
