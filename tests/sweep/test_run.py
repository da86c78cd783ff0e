"""Whole searches, with trials that run in this process."""

import errno
import json
import os
import re
import signal
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from threading import Timer

import pytest
from sweep.sweep_helpers import TINY, Inline, alone, pretended, values

from hypermnesia import report
from hypermnesia.core import files
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.evaluation.schema import Outcome
from hypermnesia.runs.directory import locked, read_result, saved_config
from hypermnesia.runs.recorder import Interrupted
from hypermnesia.sweep import Local, Stopped, SweepOptions, WorkerLost, sweep, work
from hypermnesia.sweep.jobs import Job
from hypermnesia.training import checkpoint

LR = "optimizer.lr=0.0001,0.01"


def tiny(out: Path, *words: str, engine=None, **more):
    options = SweepOptions(**more.pop("options", {"final_seeds": 0}))
    return sweep(
        "split-digits",
        "er",
        [*TINY, *(words or (LR, "memory.size=10,40"))],
        out,
        engine=engine or Inline(),
        options=options,
        **more,
    )


def number_of(job: Job) -> int:
    return int(job.directory[-4:])


def saved(out: Path) -> dict:
    return json.loads((out / "sweep.json").read_text())


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A finished grid of four trials with its winner's runs."""
    return tiny(tmp_path_factory.mktemp("grid") / "out", options={"final_seeds": 2})


def test_a_grid_is_tried_and_its_winner_run_on_test_with_fresh_seeds(grid):
    assert [t.settings for t in grid.trials] == [
        {"optimizer.lr": lr, "memory.size": size} for lr in (0.0001, 0.01) for size in (10, 40)
    ]
    assert {t.state for t in grid.trials} == {"complete"}
    assert grid.best.value == max(t.value for t in grid.trials)
    assert grid.final["seeds"] == [1, 2] and grid.final["trial"] == grid.best.number
    for trial in grid.trials:
        result = read_result(grid.directory / f"trials/{trial.number:04d}/seed-0")
        assert result["scenarios"] == {} and "infer" not in result
        found = result["validation"]["scenarios"]["class"]["average_accuracy"]
        assert trial.value == found
    for seed in (1, 2):
        result = read_result(grid.directory / f"final/{grid.best.number:04d}/seed-{seed}")
        assert result["seed"] == seed and "validation" not in result
        assert result["search"]["trials"] == 4 and result["search"]["complete"] == 4
        assert result["search"]["space"] == {"optimizer.lr": [0.0001, 0.01], "memory.size": [10, 40]}
        assert result["search"]["seconds"] == pytest.approx(sum(t.seconds for t in grid.trials))
    cfg = saved_config(grid.directory / f"final/{grid.best.number:04d}/seed-1")
    assert cfg.sections["stream"].validation is None, "the winner learns from all training samples"


def test_sweep_json_is_what_reports_read(grid):
    record = saved(grid.directory)
    assert record["final"]["scenarios"]["class"]["average_accuracy"] == pytest.approx(
        json.loads((grid.directory / grid.final["directory"] / "summary.json").read_text())["scenarios"][
            "class"
        ]["average_accuracy"]["mean"]
    )
    found = report.load([grid.directory])
    [told] = found.sweeps
    assert told.sweep.best == grid.best.number and len(told.sweep.trials) == 4 and not found.notes
    page = report.render(found, "html")
    for words in (
        "Search: er on split-digits",
        "4 (4 complete)",
        "search.seconds",
        "search.trials",
        LR.split("=")[0],
    ):
        assert words in page


def test_a_finished_search_is_not_run_again(grid):
    engine = Inline()
    again = tiny(grid.directory, options={"final_seeds": 2}, engine=engine)
    assert values(again) == values(grid) and again.final == grid.final
    fewer = tiny(grid.directory, options={"final_seeds": 1}, engine=Inline())
    assert fewer.final == grid.final, "the seeds that are told are those that its figures are over"
    assert sum(engine.batches) == 2, "the winner's two runs are looked at, and found finished"


def test_numbers_are_searched_for_too_where_they_are_told_badly_at_first(tmp_path):
    words = ["optimizer.lr=1e-5,0.1", "train.iterations=3", "train.threads=1", "net.hidden=[4]"]
    found = sweep(
        "split-diabetes", "finetune", words, tmp_path, options=SweepOptions(final_seeds=0), engine=Inline()
    )
    assert [trial.state for trial in found.trials] == ["complete", "complete"]
    assert found.trials[0].value is not None and found.trials[0].value < 0, "R² of an untrained network"


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_at_any_trial_it_goes_on_to_the_same_end(tmp_path, workers):
    words = ("optimizer.lr=log(1e-4,1e-1)", "memory.size=int(10,40)")
    options = {"trials": 14, "final_seeds": 0, "seed": 3}
    whole = tiny(tmp_path / "whole", *words, options=options, engine=Inline(workers, pretended))
    stopped_at = []

    def stop(result):
        finished = sum(t.state != "running" for t in result.trials)
        if finished >= 3 * len(stopped_at) + 2:
            stopped_at.append(finished)
            signal.raise_signal(signal.SIGINT)

    while True:
        engine = Inline(workers, pretended)
        try:
            parts = tiny(tmp_path / "parts", *words, options=options, engine=engine, listener=stop)
            break
        except Stopped as stop_error:
            assert stop_error.exit_code == 130 and "the same command goes on with it" in str(stop_error)
            assert engine.closed == 1
    assert len(stopped_at) >= 4
    assert values(parts) == values(whole)


def test_more_trials_can_be_asked_for_later(tmp_path):
    words = ("optimizer.lr=log(1e-4,1e-1)",)
    options = {"final_seeds": 0, "algorithm": "random"}
    few = tiny(tmp_path, *words, options=options | {"trials": 2}, engine=Inline(run=pretended))
    more = tiny(tmp_path, *words, options=options | {"trials": 4}, engine=Inline(run=pretended))
    assert values(more)[:2] == values(few) and len(more.trials) == 4


def test_results_do_not_depend_on_when_trials_end(tmp_path):
    """Two workers, one of which answers late: the other's results wait."""
    words = ("optimizer.lr=log(1e-4,1e-1)", "memory.size=int(10,40)")
    options = {"trials": 14, "final_seeds": 0, "algorithm": "tpe"}
    plain = tiny(tmp_path / "plain", *words, options=options, engine=Inline(2, pretended))

    class Late(Inline):
        def submit(self, fn, /, *args, **kwargs):
            [[job]] = args
            if number_of(job) % 3:
                return super().submit(fn, *args)
            future = Future()
            Timer(0.4, lambda: future.set_result([pretended(job)])).start()
            return future

    late = tiny(tmp_path / "late", *words, options=options, engine=Late(2, pretended))
    assert values(late) == values(plain)


def test_failing_trials_are_recorded_and_stop_nothing(tmp_path):
    starts = []

    def run(job: Job) -> Outcome:
        starts.append(number_of(job))
        if number_of(job) == 1:
            raise WorkerLost("the worker process was killed by SIGKILL")
        return alone(job)

    found = tiny(tmp_path, "optimizer.name=sgd", "optimizer.lr=0.01,0.02,1e30", engine=Inline(run=run))
    assert [t.state for t in found.trials] == ["complete", "failed", "failed"]
    assert found.trials[1].reason == "3 times the worker process was killed by SIGKILL"
    assert starts.count(1) == 3, "its settings may be what kills it"
    assert "the loss became" in found.trials[2].reason and found.best.number == 0
    assert [t["reason"] for t in saved(tmp_path)["trials"]] == [t.reason for t in found.trials]


def test_no_winner_is_an_error_with_the_first_reason(tmp_path):
    def run(job: Job) -> Outcome:
        raise ConnectionError("no luck")

    said = "no trial was completed, so there is no winner; the first reason: 3 times ConnectionError: no luck"
    with pytest.raises(RunFailed, match=said):
        tiny(tmp_path, LR, engine=Inline(run=run), options={"final_seeds": 1})
    assert [t["state"] for t in saved(tmp_path)["trials"]] == ["failed", "failed"]


@pytest.mark.parametrize("how", ["lost", "stopped", "disk"])
def test_what_is_no_fault_of_a_trial_costs_it_nothing(tmp_path, grid, monkeypatch, how):
    """Every trial and every run of the winner is disturbed twice; the search ends like the undisturbed one."""
    starts = Counter()

    def run(job: Job) -> Outcome:
        starts[job.directory, job.seeds] += 1
        if starts[job.directory, job.seeds] > 2:
            return alone(job)
        if how == "lost":
            raise WorkerLost("the worker process was killed by SIGKILL")
        with monkeypatch.context() as patched:
            if how == "disk":
                patched.setattr(checkpoint, "replace_file", full)
            else:
                patched.setattr(work, "execute", stopped)
            return alone(job)

    found = tiny(tmp_path / "out", options={"final_seeds": 2}, engine=Inline(run=run))
    assert values(found) == values(grid) and found.final["scenarios"] == grid.final["scenarios"]
    assert set(starts.values()) == {3}


def full(path: Path, *content: object) -> Path:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def stopped(cfg, seed, place, listener=None):
    raise Interrupted(signal.SIGTERM, place.directory)


@pytest.mark.parametrize(
    ("module", "writes"), [(checkpoint, "replace_file"), (files, "replace_file"), (work, "write_record")]
)
def test_a_full_disk_ends_the_search_with_one_message_and_loses_nothing(
    tmp_path, grid, monkeypatch, module, writes
):
    out = tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(module, writes, full)
        with pytest.raises(RunFailed) as error:
            tiny(out, options={"final_seeds": 2})
    assert re.fullmatch(
        r"(the search cannot go on: )?/.*: No space left on device; "
        "that mended, the same command goes on with (it|the search)",
        str(error.value),
    )
    again = tiny(out, options={"final_seeds": 2})
    assert values(again) == values(grid) and again.final["scenarios"] == grid.final["scenarios"]


def test_a_full_disk_under_the_journal_is_no_end_either(tmp_path, grid, monkeypatch):
    """The journal's line is torn where the disk ended."""
    opened = open

    def torn(file, mode="r", *args, **kwargs):
        if str(file).endswith("study.journal") and mode == "ab" and (tmp_path / "out/trials/0002").exists():
            with opened(file, "ab") as journal:
                journal.write(b'{"op_code": 6, "tri')
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return opened(file, mode, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", torn)
        with pytest.raises(RunFailed, match="study.journal: No space left on device; that mended, the same"):
            tiny(tmp_path / "out", options={"final_seeds": 2})
    assert values(tiny(tmp_path / "out", options={"final_seeds": 2})) == values(grid)


def test_a_job_that_gets_further_each_time_starts_as_often_as_it_takes(tmp_path):
    starts = []

    def run(job: Job) -> Outcome:
        starts.append(number_of(job))
        if number_of(job) == 0 and len(starts) < 8:
            saves = tmp_path / job.directory / "seed-0/checkpoint"
            saves.mkdir(parents=True, exist_ok=True)
            (saves / f"{len(starts)}.json").touch()
            raise WorkerLost("the worker process was killed by SIGKILL")
        return pretended(job)

    assert [t.state for t in tiny(tmp_path, LR, engine=Inline(run=run)).trials] == ["complete"] * 2
    assert starts.count(0) == 8


def test_files_from_another_disk_are_brought_home_and_nowhere_else(tmp_path):
    def sends(*names: str) -> Inline:
        answer = Outcome(state="complete", value=0.5, files=dict.fromkeys(names, "e30="))
        return Inline(run=lambda job: answer)

    tiny(tmp_path / "a", LR, engine=sends("seed-0/result.json"))
    assert (tmp_path / "a/trials/0001/seed-0/result.json").read_text() == "{}"
    with pytest.raises(
        HypermnesiaError, match="a worker sent a file named '../../../escaped', which lies outside"
    ):
        tiny(tmp_path / "b", LR, engine=sends("../../../escaped"))
    assert not (tmp_path / "escaped").exists()


def test_trials_behind_the_median_are_given_up(tmp_path):
    words = ("optimizer.lr=log(1e-5,1e-1)",)
    options = {"trials": 12, "final_seeds": 0, "algorithm": "random"}
    found = tiny(tmp_path / "with", *words, options=options, engine=Inline(run=pretended))
    without = tiny(
        tmp_path / "without", *words, options=options | {"prune": False}, engine=Inline(run=pretended)
    )
    pruned = [t for t in found.trials if t.state == "pruned"]
    assert pruned and all("below the median" in t.reason and t.value is None for t in pruned)
    assert [t.settings for t in found.trials] == [t.settings for t in without.trials]
    full = {t.number: t.value for t in without.trials}
    for trial in found.trials:
        assert trial.value in (None, full[trial.number])


def test_a_grid_goes_to_a_scheduler_at_once_and_an_adaptive_search_step_by_step(tmp_path):
    class Queue(Inline):
        queues = True

    engine = Queue(2, pretended)
    tiny(tmp_path / "grid", engine=engine)
    assert engine.batches == [4]
    engine = Queue(2, pretended)
    tiny(
        tmp_path / "tpe",
        "optimizer.lr=log(1e-4,1e-1)",
        engine=engine,
        options={"trials": 5, "final_seeds": 0},
    )
    assert max(engine.batches) <= 2


def test_several_drivers_share_a_database(tmp_path):
    url = f"sqlite:///{tmp_path}/trials.db"
    options = {"trials": 4, "final_seeds": 1, "algorithm": "random", "prune": False}
    words = ("optimizer.lr=log(1e-4,1e-1)",)
    other = []

    def shared(run=pretended):
        return {"options": options, "storage": url, "engine": Inline(run=run)}

    def run(job: Job) -> Outcome:
        if not other:  # a second machine comes in the middle of our first trial
            other.append(None)
            with pytest.raises(Stopped):
                tiny(tmp_path / "b", *words, listener=after_two, **shared())
        return pretended(job)

    def after_two(result):
        if sum(t.state == "complete" for t in result.trials) == 2:
            signal.raise_signal(signal.SIGTERM)

    ours = tiny(tmp_path / "a", *words, **shared(run))
    alone = tiny(tmp_path / "c", *words, options=options | {"final_seeds": 0}, engine=Inline(run=pretended))
    assert {t.number: t.settings for t in ours.trials} == {t.number: t.settings for t in alone.trials}
    assert sum(t.state == "running" for t in ours.trials) == 1 and ours.final is None, (
        "the other one is at it"
    )
    theirs = tiny(tmp_path / "b", *words, **shared())
    assert values(theirs) == values(alone) and theirs.final["trial"] == alone.best.number


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (["optimizer.lrr=1,2"], {}, "unknown key 'optimizer.lrr'"),
        (["optimizer.lr=log(1,0.1)"], {}, "the range runs backwards"),
        (
            [LR],
            {"objective": "scenarios.class.average_accuracy"},
            "is a test figure, which no search may see",
        ),
    ],
)
def test_bad_searches_end_before_anything_starts(tmp_path, words, options, said):
    engine = Inline()
    with pytest.raises(HypermnesiaError) as error:
        tiny(tmp_path / "out", *words, options=options, engine=engine)
    assert said in str(error.value)
    assert not engine.opened and not (tmp_path / "out").exists()


def test_a_directory_belongs_to_one_search(tmp_path, grid):
    with pytest.raises(HypermnesiaError) as error:
        tiny(grid.directory, LR)
    assert "holds another search: space is {" in str(error.value) and "give another --out" in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(HypermnesiaError, match="exists and holds no search; give another --out"):
        tiny(tmp_path, LR)
    with locked(grid.directory), pytest.raises(HypermnesiaError, match="is in use by process"):
        tiny(grid.directory, options={"final_seeds": 2})
    (tmp_path / "s").mkdir()
    (tmp_path / "s/search.json").write_text("{")
    with pytest.raises(HypermnesiaError, match="search.json cannot be used"):
        tiny(tmp_path / "s", LR)


def test_a_record_that_has_lost_trials_is_not_gone_on_with(tmp_path):
    tiny(tmp_path, LR, engine=Inline(run=pretended))
    (tmp_path / "trials/0002").mkdir(parents=True)
    said = (
        "trials/0002 is there, and the search's record knows 2 trials only; restore it, or search anew with"
    )
    with pytest.raises(HypermnesiaError, match=said):
        tiny(tmp_path, LR, engine=Inline(run=pretended))


def test_worker_processes_find_the_same(tmp_path, grid):
    found = tiny(tmp_path, options={"final_seeds": 2}, engine=Local(workers=2, threads=1))
    assert values(found) == values(grid)
    assert found.final["scenarios"] == grid.final["scenarios"]


def test_a_stream_of_ones_own_is_searched_over(tmp_path, monkeypatch):
    """`python:MODULE:NAME` stands where a benchmark's name does, in the trials and in the winner's runs."""
    code = "return hm.split(hm.open_source('digits'), tasks=5, order='seed', seed=seed)"
    (tmp_path / "mine.py").write_text(f"import hypermnesia as hm\n\ndef pairs(seed):\n    {code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = SweepOptions(final_seeds=1)
    found = sweep("python:mine:pairs", "er", [*TINY, LR], tmp_path / "out", engine=Inline(), options=options)
    assert {trial.state for trial in found.trials} == {"complete"} and len(found.trials) == 2
    assert found.benchmark == "python:mine:pairs" and found.final is not None
    summary = found.directory / found.final["directory"] / "summary.json"
    assert json.loads(summary.read_text())["benchmark"] == "python:mine:pairs"
    with pytest.raises(HypermnesiaError, match="'mine' has no 'nothing'; it has: pairs"):
        sweep("python:mine:nothing", "er", [*TINY, LR], tmp_path / "other", engine=Inline(), options=options)
