"""From a matrix of accuracies to the numbers that papers print.

The matrix a has a row for each task learned and a column for each test set: a[t][j] is the accuracy on test j
after task t, a fraction in 0..1 (any other unit goes through unchanged, but for REM). Absent entries are None
or NaN: a row that was never evaluated, the tests of tasks still to come, a run that stopped early (k below is
the number of tasks up to the last row with an entry; what is written T in the papers). Rows may be shorter
than the widest one.

Averages are macro: every test set counts the same, however many samples it has. A number that the entries do
not determine is None, never NaN and never an average over whatever happens to be there.

A square matrix is read as one test per task, so after task t the tests seen are 0..t. Anything else is said
with `seen[t]`, the tests whose data the learner has had by the end of row t: for a stream with repetition the
classes met so far, for joint training all tests. Without `seen`, every entry present in a row of a matrix
that is not square counts. Where tests are not the tasks only the average accuracies are defined.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = Sequence[float | None] | NDArray[Any]
Matrix = Sequence[Row | None] | NDArray[Any]
Seen = Sequence[Sequence[int]]
Grid = NDArray[np.float64]


def average_accuracy(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """ACC = (1/k) Σ_j a[k][j]: the last row over the tests seen.

    GEM (Lopez-Paz & Ranzato 2017, arXiv:1706.08840).
    """
    grid = _grid(matrix)
    rows = _accuracies_over_time(grid, seen)
    return rows[-1] if rows else None


def average_incremental_accuracy(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """(1/k) Σ_t A_t with A_t the average accuracy after task t.

    iCaRL (Rebuffi et al. 2017, arXiv:1611.07725) in the macro form of LUCIR (Hou et al. 2019); iCaRL itself
    weights by samples. Needs every row: an average over some of the tasks would be another number.
    """
    return _mean(_accuracies_over_time(_grid(matrix), seen))


def forgetting(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """1/(k−1) Σ_{j<k} (max_{j≤l<k} a[l][j] − a[k][j]), RWalk (Chaudhry et al. 2018, arXiv:1801.10112, eq. 3).

    The best accuracy that a task ever had before the last row, minus what is left. Negative when later tasks
    help. Rows before task j was learned do not count: the paper defines a[l][j] for j ≤ l only.
    """
    part = _tasks(matrix, seen)
    return None if part is None else _mean([part[j:-1, j].max() - part[-1, j] for j in range(len(part) - 1)])


def forgetting_first_last(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """1/(k−1) Σ_{j<k} (a[j][j] − a[k][j]): first minus last.

    The "forgetting" of Avalanche and of partial hypernetworks. It is −`backward_transfer`, and average
    accuracy + (k−1)/k · this = learning accuracy.
    """
    transfer = backward_transfer(matrix, seen)
    return None if transfer is None else -transfer


def backward_transfer(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """BWT = 1/(k−1) Σ_{j<k} (a[k][j] − a[j][j]), GEM (arXiv:1706.08840). Negative: forgetting."""
    part = _tasks(matrix, seen)
    return None if part is None else _mean(part[-1, :-1] - part.diagonal()[:-1])


def forward_transfer(matrix: Matrix, baseline: Row | None, seen: Seen | None = None) -> float | None:
    """FWT = 1/(k−1) Σ_{j≥2} (a[j−1][j] − b[j]), GEM (arXiv:1706.08840).

    `baseline` holds b, the accuracy of the untrained network on each test. None without it, or where the
    entries just above the diagonal were not evaluated.
    """
    part = _tasks(matrix, seen)
    if part is None or baseline is None:
        return None
    untrained = np.full(len(part), np.nan)
    known = _grid([baseline])[0, : len(part)]
    untrained[: len(known)] = known
    return _mean(part.diagonal(1) - untrained[1:])


def learning_accuracy(matrix: Matrix, seen: Seen | None = None) -> float | None:
    """LA = (1/k) Σ_j a[j][j]: each task just after it was learned.

    MER (Riemer et al. 2019, arXiv:1810.11910).
    """
    part = _tasks(matrix, seen)
    return None if part is None else _mean(part.diagonal())


def intransigence(matrix: Matrix, joint: float | None, seen: Seen | None = None) -> float | None:
    """I_k = a* − a[k][k], RWalk (arXiv:1801.10112): what the last task lost because the others came first.

    `joint` is a*, the accuracy on task k of a network trained on tasks 1..k together.
    """
    part = _tasks(matrix, seen)
    return None if part is None or joint is None else _mean([joint - part[-1, -1]])


def missing_class_accuracy(matrix: Matrix, seen: Seen, present: Seen) -> float | None:
    """MCA: the last row over the classes met so far that its task does not have.

    CIR (Hemati et al. 2023, arXiv:2301.11396). Tests are one for each class; `present[t]` are those of the classes that
    task t has. None where no class is missing.
    """
    grid = _grid(matrix)
    k = _evaluated(grid)
    if not k:
        return None
    missing = set(_seen_tests(seen, k, grid.shape[1])[-1]) - set(_seen_tests(present, k, grid.shape[1])[-1])
    return _mean(grid[k - 1, sorted(missing)])


def summarise(
    matrix: Matrix, baseline: Row | None = None, seen: Seen | None = None, present: Seen | None = None
) -> dict[str, Any]:
    """One scenario of `result.json`: the matrix (nested lists, None where absent) and its metrics.

    With `present`, `missing_class_accuracy` is among them; it needs `seen` as well.
    """
    grid = _grid(matrix)
    absent = (
        {}
        if present is None
        else {"missing_class_accuracy": missing_class_accuracy(grid, seen or [], present)}
    )
    return {
        "matrix": [[None if np.isnan(value) else float(value) for value in row] for row in grid],
        "average_accuracy": average_accuracy(grid, seen),
        "average_incremental_accuracy": average_incremental_accuracy(grid, seen),
        "forgetting": forgetting(grid, seen),
        "backward_transfer": backward_transfer(grid, seen),
        "forward_transfer": forward_transfer(grid, baseline, seen),
        "learning_accuracy": learning_accuracy(grid, seen),
        **absent,
    }


def variants(matrix: Matrix, baseline: Row | None = None) -> dict[str, float | None]:
    """Every definition in use, named by its source, to compare with numbers printed elsewhere.

    All are None unless the matrix has one test per task.

    acc_gem, aia_lucir, la_mer, forgetting_chaudhry18, bwt_gem and fwt_gem are this module's own functions.
    Then:

    - a_diaz: mean of a[i][j] over i ≥ j; bwt_all_pairs: mean of a[i][j] − a[j][j] over i > j; bwt_plus:
      max(that, 0); rem: 1 − |min(that, 0)|, of fractions; fwt_diaz: mean of a[i][j] over i < j
      (Díaz-Rodríguez et al. 2018, arXiv:1810.13166; Continuum prints bwt_all_pairs as "BWT")
    - forgetting_mammoth: the max runs over all rows, the last included, so no term is negative (also PyCIL
      and PILOT)
    - forgetting_avalanche: first minus last, −bwt_gem
    - forgetting_libcontinual: first minus last without the last-but-one task, which still counts in the
      divisor; bwt_libcontinual: bwt_all_pairs without the pairs of neighbours, which still count in the
      divisor
    - fwt_no_baseline: fwt_gem with b = 0 (Continuum)
    """
    tasks = _tasks(matrix, None)
    part = np.full((1, 1), np.nan) if tasks is None else tasks
    return {
        "acc_gem": average_accuracy(part),
        "aia_lucir": average_incremental_accuracy(part),
        "la_mer": learning_accuracy(part),
        "forgetting_chaudhry18": forgetting(part),
        "forgetting_avalanche": forgetting_first_last(part),
        "bwt_gem": backward_transfer(part),
        "fwt_gem": forward_transfer(part, baseline),
        **_other_variants(part),
    }


def _other_variants(part: Grid) -> dict[str, float | None]:
    k = len(part)
    first, last = part.diagonal(), part[-1]
    later, earlier = np.tril_indices(k, -1)
    gains = part[later, earlier] - first[earlier]
    bwt = _mean(gains)
    # Mammoth fills what it has not evaluated yet with zeros.
    filled = np.where(np.isnan(part) & np.triu(np.ones_like(part, dtype=bool), 1), 0.0, part)
    return {
        "a_diaz": _mean(part[np.tril_indices(k)]),
        "bwt_all_pairs": bwt,
        "bwt_plus": None if bwt is None else max(bwt, 0.0),
        "rem": None if bwt is None else 1.0 - abs(min(bwt, 0.0)),
        "fwt_diaz": _mean(part[np.triu_indices(k, 1)]),
        "forgetting_mammoth": _mean((filled.max(0) - last)[:-1]),
        "forgetting_libcontinual": _ratio((first - last)[: k - 2], k - 1),
        "bwt_libcontinual": _ratio(gains[earlier < later - 1], k * (k - 1) // 2),
        "fwt_no_baseline": _mean(part.diagonal(1)),
    }


# --- during training: rows[n] is the n-th evaluation, tasks[n] the task (from 0) being learned then ---


def average_anytime_accuracy(rows: Matrix, tasks: Sequence[int], seen: Seen | None = None) -> float | None:
    """AAA: mean over all evaluations of the mean accuracy over the tests seen by then.

    Caccia et al. 2022 (arXiv:2104.05025). `seen[t]` are the tests seen once task t has begun; default 0..t.
    """
    grid = _trace(rows, tasks)
    if seen is None:
        tests = [list(range(task + 1)) for task in tasks]
    else:
        tests = _seen_tests(seen, max(tasks, default=-1) + 1, grid.shape[1])
        tests = [tests[task] for task in tasks]
    return _mean([_mean(row[own]) for row, own in zip(grid, tests, strict=True)])


def min_accuracy(rows: Matrix, tasks: Sequence[int]) -> float | None:
    """min-ACC = 1/(k−1) Σ_{j<k} min over all evaluations after task j ended of the accuracy on test j.

    De Lange, van de Ven & Tuytelaars 2023 (arXiv:2205.13452), with k the task in training at the last
    evaluation. None with a single task.
    """
    grid, order = _trace(rows, tasks), np.asarray(tasks)
    return _mean([grid[order > j, j].min() for j in range(max(tasks, default=0))])


def worst_case_accuracy(rows: Matrix, tasks: Sequence[int]) -> float | None:
    """WC-ACC = a_k/k + (1 − 1/k) · min-ACC, a_k the newest accuracy on the task in training (2205.13452)."""
    grid = _trace(rows, tasks)
    if not len(grid):
        return None
    k = tasks[-1] + 1
    newest = _mean(grid[-1:, k - 1])
    lowest = 0.0 if k == 1 else min_accuracy(rows, tasks)
    return None if newest is None or lowest is None else newest / k + (1 - 1 / k) * lowest


def stability_gap(rows: Matrix, tasks: Sequence[int]) -> float | None:
    """How deep accuracy on earlier tasks dips while a task is learned, beyond what stays lost at its end.

    Mean, ≥ 0, over tasks t and earlier tests j < t of min(before, after) − lowest, where `before` is the last
    evaluation of task t−1, `after` the last one of task t and `lowest` the smallest from `before` to `after`:
    0 where the accuracy only falls or only rises. De Lange et al. 2023 (arXiv:2205.13452) describe the
    phenomenon; this number for it is ours.
    """
    grid, order = _trace(rows, tasks), np.asarray(tasks)
    dips: list[float | None] = []
    for task in range(1, max(tasks, default=0) + 1):
        before, during = grid[order == task - 1], grid[order == task]
        if not len(before) or not len(during):
            return None
        path = np.concatenate([before[-1:], during])[:, :task]
        dips.extend(np.minimum(path[0], path[-1]) - path.min(0))
    return _mean(dips)


def anytime(rows: Matrix, tasks: Sequence[int], seen: Seen | None = None) -> dict[str, float | None]:
    """The `anytime` part of `result.json`; where tests are not the tasks, the last two are None."""
    by_task = seen is None or _one_test_per_task(seen)
    return {
        "average_anytime_accuracy": average_anytime_accuracy(rows, tasks, seen),
        "worst_case_accuracy": worst_case_accuracy(rows, tasks) if by_task else None,
        "stability_gap": stability_gap(rows, tasks) if by_task else None,
    }


# --- reading matrices ---


def _grid(matrix: Matrix) -> Grid:
    """(rows, tests) float64, NaN where absent; shorter rows are filled up."""
    rows = [
        [] if row is None else [np.nan if value is None else float(value) for value in row] for row in matrix
    ]
    grid = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for place, row in zip(grid, rows, strict=True):
        place[: len(row)] = row
    if np.isinf(grid).any():
        raise ValueError(f"accuracies must be finite, got {grid.tolist()}")
    return grid


def _evaluated(grid: Grid) -> int:
    """k: the number of rows up to the last one with an entry."""
    rows = np.flatnonzero(~np.isnan(grid).all(axis=1)) if grid.size else np.empty(0, dtype=int)
    return int(rows[-1]) + 1 if len(rows) else 0


def _tasks(matrix: Matrix, seen: Seen | None) -> Grid | None:
    """The (k, k) part that the k tasks so far span; None where rows and tests are not the same tasks."""
    grid = _grid(matrix)
    k = _evaluated(grid)
    if seen is None:
        one_test_per_task = grid.shape[0] == grid.shape[1]
    else:
        one_test_per_task = _one_test_per_task(_seen_tests(seen, k, grid.shape[1]))
    return grid[:k, :k] if one_test_per_task and k > 0 else None


def _accuracies_over_time(grid: Grid, seen: Seen | None) -> list[float | None]:
    """A_t of each row up to the last evaluated one."""
    k = _evaluated(grid)
    if seen is not None:
        return [_mean(row[own]) for row, own in zip(grid, _seen_tests(seen, k, grid.shape[1]), strict=False)]
    if grid.shape[0] == grid.shape[1]:
        return [_mean(grid[t, : t + 1]) for t in range(k)]
    return [_mean(row[~np.isnan(row)]) for row in grid[:k]]


def _one_test_per_task(seen: Seen) -> bool:
    return all(list(tests) == list(range(t + 1)) for t, tests in enumerate(seen))


def _seen_tests(seen: Seen, rows: int, tests: int) -> list[list[int]]:
    """The first `rows` entries of `seen`, checked."""
    if len(seen) < rows or any(test not in range(tests) for own in seen[:rows] for test in own):
        raise ValueError(f"seen must list tests of 0..{tests - 1} for each of {rows} rows, got {seen!r}")
    return [list(own) for own in seen[:rows]]


def _trace(rows: Matrix, tasks: Sequence[int]) -> Grid:
    """(evaluations, tests) with a column for each task met, NaN where absent."""
    grid = _grid(rows)
    if len(grid) != len(tasks) or any(later < earlier for earlier, later in pairwise(tasks)):
        raise ValueError(
            f"each of the {len(grid)} evaluations needs the task being learned, in order; got {list(tasks)}"
        )
    missing = max(tasks, default=-1) + 1 - grid.shape[1]
    return np.pad(grid, ((0, 0), (0, max(missing, 0))), constant_values=np.nan)


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean; None where any value is undefined or there is none."""
    known = _floats(values)
    return _ratio(known, len(known))


def _ratio(values: Iterable[float | None], divisor: int) -> float | None:
    """The sum over `divisor`; None where any value is undefined or there is none."""
    known = _floats(values)
    return None if not known.size or np.isnan(known).any() else float(known.sum() / divisor)


def _floats(values: Iterable[float | None]) -> Grid:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def accuracy_so_far(row: Sequence[float | None], task: int, tasks: int | None) -> float | None:
    """Mean accuracy over the tests of tasks 0..`task`; over all tests where these are not the `tasks` trained (0: never)."""
    own = row[: task + 1] if tasks is None or tasks == len(row) else row
    known = [value for value in own if value is not None]
    return sum(known) / len(known) if known else None
