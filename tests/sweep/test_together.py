"""Trials that differ in numbers only train as one program in a worker, and are judged as by themselves."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from sweep.sweep_helpers import TINY, Inline, alone, job, pretended

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import write_json
from hypermnesia.runs.directory import environment_of
from hypermnesia.sweep import SweepOptions, sweep
from hypermnesia.sweep import run as searching
from hypermnesia.sweep import work as working
from hypermnesia.sweep.engines.base import WorkerLost
from hypermnesia.sweep.work import work
from hypermnesia.training import checkpoint


def stacked_with(root: Path, name: str) -> list[str] | None:
    return environment_of(root / name / "seed-0").get("stacked_with")


def test_several_trials_are_worth_what_each_is_worth(tmp_path: Path) -> None:
    rates = ["lr=0.001", "lr=0.01", "lr=0.03"]
    found = work([job(tmp_path, f"together/{i}", rate) for i, rate in enumerate(rates)])
    single = [alone(job(tmp_path, f"alone/{i}", rate)) for i, rate in enumerate(rates)]
    for i, (ours, theirs) in enumerate(zip(found, single, strict=True)):
        assert ours.state == "complete" and ours.seconds > 0
        assert ours.value == pytest.approx(theirs.value) and ours.scores == pytest.approx(theirs.scores)
        assert stacked_with(tmp_path, f"together/{i}") == [
            str(tmp_path / f"together/{k}/seed-0") for k in range(3)
        ]
        assert stacked_with(tmp_path, f"alone/{i}") is None
        assert not list((tmp_path / f"together/{i}").rglob("checkpoint"))
    assert len({outcome.value for outcome in found}) == 3, "the rates make a difference"


def test_one_that_fails_takes_no_other_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["optimizer.name=sgd"]
    rates = ["lr=0.01", "lr=1e30", "lr=0.02", "lr=1e29"]
    found = work([job(tmp_path, f"t/{i}", *words, rate) for i, rate in enumerate(rates)])
    assert [outcome.state for outcome in found] == ["complete", "failed", "complete", "failed"]
    assert all("the loss became" in (found[i].reason or "") for i in (1, 3))
    single = [alone(job(tmp_path, f"alone/{i}", *words, rates[i])) for i in (0, 2)]
    assert [found[0].value, found[2].value] == pytest.approx([outcome.value for outcome in single])
    assert "one by one" not in capsys.readouterr().err


def test_what_nobody_expected_leaves_each_to_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(entries: object) -> bool:
        raise RuntimeError("it cannot be done\nin two lines")

    monkeypatch.setattr(working, "execute_together", wrong)
    found = work([job(tmp_path, f"t/{i}", f"lr=0.0{i}") for i in (1, 2)])
    assert [outcome.state for outcome in found] == ["complete", "complete"]
    assert "2 trials go on one by one: RuntimeError: it cannot be done\n" in capsys.readouterr().err


def test_trials_that_differ_in_more_run_one_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = work([job(tmp_path, "t/0", "net.hidden=[20]"), job(tmp_path, "t/1", "net.hidden=[30]")])
    assert [outcome.state for outcome in found] == ["complete", "complete"]
    assert stacked_with(tmp_path, "t/0") is None
    assert "run one after another: their settings differ in more than numbers" in capsys.readouterr().err


def test_a_number_that_no_loss_reads_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as dropout, which belongs to the network."""
    assert all(
        outcome.state == "complete"
        for outcome in work([job(tmp_path, f"t/{p}", f"net.dropout={p}") for p in (0.0, 0.5)])
    )
    assert "their settings differ in more than numbers" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------- searches


def test_a_grid_gives_workers_several_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "TOGETHER", 3)
    words = [*TINY, "lr=0.001,0.003,0.01,0.03,0.1"]
    options = SweepOptions(final_seeds=1)

    def searched(name: str, stack: bool) -> tuple[list[float | None], dict[str, object]]:
        engine = Inline()
        result = sweep(
            "split-digits", "finetune", words, tmp_path / name, options=options, engine=engine, stack=stack
        )
        assert result.best is not None and result.final is not None
        final = environment_of(tmp_path / name / result.final["directory"] / "seed-1")
        assert "stacked_with" not in final, "the winner's runs can be repeated by themselves"
        return [trial.value for trial in result.trials], result.best.settings

    values, best = searched("apart", stack=False)
    ours, winner = searched("together", stack=True)
    assert ours == pytest.approx(values) and winner == best
    sizes = [len(stacked_with(tmp_path / "together", f"trials/{i:04d}") or []) for i in range(5)]
    assert sizes == [3, 3, 3, 2, 2]


def test_jobs_that_are_lost_together_start_again_together_and_at_last_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "TOGETHER", 3)
    sizes: list[int] = []

    class Fragile(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            sizes.append(len(args[0]))
            if len(args[0]) == 1:
                return super().submit(fn, *args)
            lost: Future[Any] = Future()
            lost.set_exception(WorkerLost("the worker process was killed"))
            return lost

    options = SweepOptions(final_seeds=0)
    words = [*TINY, "lr=0.001,0.003,0.01"]
    result = sweep(
        "split-digits", "finetune", words, tmp_path / "s", options=options, engine=Fragile(), stack=True
    )
    assert [trial.state for trial in result.trials] == ["complete"] * 3
    assert sizes == [3, 3, 1, 1, 1]


def test_what_has_begun_together_goes_on_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "TOGETHER", 2)
    words, options = [*TINY, "lr=0.001,0.003,0.01,0.03"], SweepOptions(final_seeds=0)
    groups: list[list[str]] = []

    class Noting(Inline):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            groups.append([job.directory[-1] for job in args[0]])
            if len(groups) < 2:
                raise HypermnesiaError("the cluster takes no more tasks")
            return super().submit(fn, *args)

    def searched() -> None:
        engine = Noting(workers=2, run=pretended)
        sweep("split-digits", "finetune", words, tmp_path, options=options, engine=engine, stack=True)

    with pytest.raises(HypermnesiaError, match="takes no more tasks"):
        searched()
    for number in (0, 2, 3):
        run = tmp_path / f"trials/000{number}/seed-0"
        run.mkdir(parents=True)
        write_json(run / "environment.json", {"seed": 0, "stacked_with": ["0", "2", "3"]})
    searched()
    assert groups == [["0", "1"], ["0", "2", "3"], ["1"]]


def test_a_full_disk_stops_all_and_parts_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(tmp_path, f"t/{i}", f"lr=0.0{i}") for i in (1, 2)]

    def full(path: Path, content: bytes) -> Path:
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "replace_file", full)
        found = work(jobs)
    assert [outcome.state for outcome in found] == ["interrupted"] * 2
    assert all((outcome.reason or "").endswith("No space left on device") for outcome in found)
    assert [outcome.state for outcome in work(jobs)] == ["complete"] * 2
    assert stacked_with(tmp_path, "t/1") is not None


def test_searches_that_wait_for_results_are_not_stacked(tmp_path: Path) -> None:
    for options in (SweepOptions(trials=2, algorithm="tpe"), SweepOptions(trials=2, algorithm="random")):
        with pytest.raises(
            HypermnesiaError, match="--stack auto is for searches whose trials do not wait for each"
        ):
            sweep(
                "split-digits",
                "finetune",
                [*TINY, "lr=log(1e-4,1)"],
                tmp_path / "s",
                options=options,
                stack=True,
            )
    assert not (tmp_path / "s").exists()
