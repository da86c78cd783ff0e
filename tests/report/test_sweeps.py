import json
import re
from typing import Any

import numpy as np
import pytest

from hypermnesia import report
from hypermnesia.evaluation.schema import Sweep, Trial
from hypermnesia.report import sweeps


def sweep(settings: list[dict[str, Any]], values: list[float | None], **more: Any) -> Sweep:
    trials = tuple(
        Trial(number=i, settings=s, value=v, state="failed" if v is None else "complete")
        for i, (s, v) in enumerate(zip(settings, values, strict=True))
    )
    return Sweep(benchmark="b", approach="a", objective="o", trials=trials, **more)


def test_importance_is_the_adjusted_share_of_variance_between_bins() -> None:
    rng = np.random.default_rng(0)
    nets, noise = rng.integers(0, 3, 40), rng.normal(size=40)
    values = nets * 1.0 + noise
    found = dict(sweeps.importance(sweep([{"net": f"n{n}"} for n in nets], values.tolist())))
    # The same from its meaning: 1 minus the unbiased variance within bins over the unbiased total variance.
    within = sum(((values[nets == n] - values[nets == n].mean()) ** 2).sum() for n in range(3)) / (40 - 3)
    assert found["net"] == pytest.approx(1 - within / values.var(ddof=1))


def test_importance_finds_what_matters_also_when_it_is_not_monotone() -> None:
    rng = np.random.default_rng(1)
    rates, sizes = rng.uniform(-1, 1, 200), rng.uniform(size=200)
    settings = [{"size": float(s), "rate": float(r)} for r, s in zip(rates, sizes, strict=True)]
    (first, share), (second, rest) = sweeps.importance(sweep(settings, (rates**2).tolist()))
    assert (first, second) == ("rate", "size")
    assert share > 0.6 and rest < 0.1


def test_importance_needs_trials_and_a_spread() -> None:
    settings = [{"lr": i} for i in range(8)]
    assert sweeps.importance(sweep(settings[:7], list(range(7)))) == []
    assert sweeps.importance(sweep(settings, [0.5] * 8)) == []
    assert sweeps.importance(sweep([{"lr": 1}] * 8, list(range(8)))) == [], "nothing varied"
    assert sweeps.importance(sweep([{"lr": str(i)} for i in range(8)], list(range(8)))) == [("lr", 0.0)]


def test_direction_is_read_from_the_winner() -> None:
    settings = [{"lr": i} for i in range(3)]
    assert sweeps.maximises(sweep(settings, [0.1, 0.9, 0.5], best=1))
    assert not sweeps.maximises(sweep(settings, [0.1, 0.9, 0.5], best=0))
    assert sweeps.maximises(sweep(settings, [0.1, 0.1, 0.1], best=0))
    assert sweeps.maximises(sweep(settings, [0.1, 0.9, None], best=None))
    only = [None, 0.9, None]  # one complete trial is largest and smallest at once
    assert not sweeps.maximises(sweep(settings, only, best=1, maximise=False))
    assert sweeps.maximises(sweep(settings, only, best=1, maximise=True))


def test_history_keeps_the_best_so_far() -> None:
    picture = sweeps.history_plot(sweep([{"lr": i} for i in range(4)], [0.1, 0.9, None, 0.5], best=1))
    assert picture is not None
    (best,) = re.findall(r'd="(M[^"]*)" class="curve s1"', picture)
    heights = [float(point.split()[1]) for point in best[1:].split("L")]
    assert heights == sorted(heights, reverse=True), "the best so far never falls"
    assert picture.count("<circle") == 3
    assert picture.count('class="cross"') == 1 and "trial 2: failed" in picture


def test_parallel_coordinates_have_a_line_per_complete_trial() -> None:
    settings = [
        {"lr": 10.0**-i, "net": net, "hidden": [i]} for i, net in enumerate(("<mlp>", "lenet", "mlp"))
    ]
    picture = sweeps.parallel_plot(sweep(settings, [0.1, 0.9, None], best=1, space={"net": [], "lr": []}))
    assert picture is not None
    assert len(re.findall(r'class="curve faint"', picture)) == 1
    assert len(re.findall(r'class="curve best"', picture)) == 1
    names = re.findall(r'class="name">([^<]*)<', picture)
    assert names == ["net", "lr", "hidden", "objective"]
    assert "&lt;mlp&gt;" in picture and "<mlp>" not in picture


def test_no_complete_trial_makes_no_picture() -> None:
    nothing = sweep([{"lr": 1}, {"lr": 2}], [None, None])
    assert sweeps.history_plot(nothing) is None and sweeps.parallel_plot(nothing) is None
    assert sweeps.importance_plot(nothing) is None


@pytest.mark.parametrize("value", [10**400, float("1e100"), 0, -1, True, None, "x", [1], {"a": [1]}])
def test_any_setting_is_drawn(value: Any) -> None:
    settings = [{"s": value}] + [{"s": i} for i in range(9)]
    record = sweep(settings, [0.1 * i for i in range(10)], best=9)
    assert sweeps.parallel_plot(record) is not None and sweeps.importance_plot(record) is not None


def test_the_page_tells_the_search(runs: Any) -> None:
    directory = runs.sweep()
    page = report.render(report.load([runs.root]), "html")
    record = json.loads((directory / "sweep.json").read_text(encoding="utf-8"))
    for words in (
        "Search: hnet on permuted-digits",
        "validation.scenarios.class.average_accuracy (larger is better)",
        "24 (22 complete, 1 failed, 1 pruned)",
        "3 min 36 s",
        f"trial {record['best']}",
        "log(1e-4,1e-1)",
        "loss became NaN at step 12",
        "average_accuracy",
    ):
        assert words in page
    assert "<figcaption>Parallel coordinates</figcaption>" in page


@pytest.mark.parametrize("compared", [False, True])
def test_the_search_stands_before_its_winners_run_and_after_comparisons(runs: Any, compared: bool) -> None:
    record = {"trials": 24, "seconds": 216.0}
    runs.sweep()
    runs.seed("sweep/final/0001", runs.result("hnet", 3, search=record))
    if compared:
        runs.run("er")
    page = report.render(report.load([runs.root]), "html")
    headings = re.findall(r"<h2 id=.*?>(.*?)</h2>", page)
    wanted = ["Search: hnet on permuted-digits", "split-digits"]
    assert headings == (wanted[::-1] if compared else wanted)
    links = re.findall(r'<li><a href="#\w\d">(.*?)</a>', page)
    assert links == headings


def test_a_search_begins_with_what_was_found(runs: Any) -> None:
    runs.sweep()
    page = report.render(report.load([runs.root]), "html")
    found = re.search(r'<p class="verdict">(.*?)</p>', page)
    assert found is not None and page.index(found[0]) < page.index("<dl")
    assert re.fullmatch(
        r"train.lr=0.00\d+, train.batch_size=\d+, net=lenet: 0.9\d+, the best of 22 complete trials. "
        r"train.lr mattered most: alone it explains \d\d % of the variance.",
        found[1],
    )
