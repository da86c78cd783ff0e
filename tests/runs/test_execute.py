"""Run directories: made, recognised, refused, resumed, read back."""

import contextlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy import int64
from running import SHORT, files_below, read, without_times

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.locks import InUse
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import Place, Unusable, create, default_directory, locked, seed_directories
from hypermnesia.runs.execute import execute, execute_seeds, restored, resume, run_of, summarise
from hypermnesia.runs.recorder import Interrupted
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone, TaskEnded


def config(approach: str = "hnet", *words: str):
    return resolve("split-digits", approach, [*SHORT, *words])


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """DIR of a finished run with seed 3; tests leave it as it is."""
    directory = tmp_path_factory.mktemp("runs") / "hnet"
    execute_seeds(config(), [3], directory)
    return directory


def test_a_finished_run_holds_what_the_docs_promise(finished):
    assert {p.name for p in finished.iterdir()} == {"seed-3", "summary.json", "result.json"}
    seed = finished / "seed-3"
    files = {p.name for p in seed.iterdir()}
    assert files == {
        *("config.toml", "environment.json", "stream.json", "events.jsonl", "result.json", "checkpoint")
    }
    result, summary = read(seed / "result.json"), read(finished / "summary.json")
    assert read(finished / "result.json") == result
    assert result["seed"] == 3 and result["config_sha256"] == config().sha256
    assert summary["seeds"] == [3]
    mean = summary["scenarios"]["task"]["average_accuracy"]
    assert mean == {
        "mean": result["scenarios"]["task"]["average_accuracy"],
        "std": None,
        "ci95": None,
        "n": 1,
    }
    about = read(seed / "environment.json")
    assert about["seed"] == 3 and about["device"] == "cpu" and about["data_dir"] is None
    events = [json.loads(line)["event"] for line in (seed / "events.jsonl").read_text().splitlines()]
    assert events[0] == "evaluated" and events[-1] == "run_ended"
    assert events.count("task_ended") == 5


def test_a_finished_run_is_recognised(finished):
    before = files_below(finished / "seed-3")
    heard = []
    result = execute(config(), 3, Place(finished / "seed-3"), heard.append)
    assert result == read(finished / "seed-3" / "result.json")
    assert heard == [] and files_below(finished / "seed-3") == before


def test_another_configuration_is_refused(finished):
    with pytest.raises(
        Unusable, match=r"holds a run with another configuration \(.{8}, not .{8}\); give another"
    ):
        execute(config("hnet", "drift.beta=0.5"), 3, Place(finished / "seed-3"))


def test_seeds_of_another_configuration_are_not_mixed_in(finished):
    with pytest.raises(Unusable, match="seed-3 holds a run with another configuration"):
        execute_seeds(config("hnet", "drift.beta=0.5"), [4], finished)
    assert not (finished / "seed-4").exists()


def test_a_device_that_is_gone_is_told(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HypermnesiaError, match="seed-3 was begun on cuda, which torch does not see here"):
        resume(finished / "seed-3", device="cuda")


def test_another_seed_is_refused(finished):
    with pytest.raises(Unusable, match="holds a run with seed 3, not 4; give another --out"):
        execute(config(), 4, Place(finished / "seed-3"))


@pytest.mark.parametrize("word", ["seeds.stream=7", "stream.seed=7"])
def test_another_seed_of_one_source_is_refused(finished, word):
    """These change results without changing the configuration's hash."""
    assert config("hnet", word).sha256 == config().sha256
    with pytest.raises(Unusable, match=f"holds a run with {word.split('=')[0]}=None, not 7"):
        execute(config("hnet", word), 3, Place(finished / "seed-3"))


def test_threads_and_checkpoints_may_differ(finished):
    cfg = config("hnet", "checkpoint.every=1").sha256
    assert cfg == resolve("split-digits", "hnet", ["train.iterations=5"]).sha256 == config().sha256


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_a_resumed_run_ends_like_an_uninterrupted_one(tmp_path, finished, number):
    directory = tmp_path / "seed-3"

    def strike(event):
        if isinstance(event, StepDone) and event.task == 2 and event.step == 3:
            os.kill(os.getpid(), number)

    with pytest.raises(
        Interrupted, match=f"stopped by {number.name}; go on with: hypermnesia resume"
    ) as stopped:
        execute(config(), 3, Place(directory), strike)
    assert stopped.value.exit_code == 128 + number
    assert not (directory / "result.json").exists()
    steps = []
    with pytest.raises(Unusable, match="holds no finished run yet; go on with: hypermnesia resume"):
        summarise(tmp_path)

    def listen(cfg, seed, where):
        assert (cfg.sha256, seed, where) == (config().sha256, 3, directory)
        return _hearing(steps)

    resume(directory, listen=listen)
    assert (steps[0].task, steps[0].step) == (2, 4)
    ours, theirs = read(directory / "result.json"), read(finished / "seed-3" / "result.json")
    assert without_times(ours) == without_times(theirs)
    assert _events(directory) == _events(finished / "seed-3")


def _hearing(events: list):
    @contextlib.contextmanager
    def hear():
        yield lambda event: events.append(event) if isinstance(event, StepDone) else None

    return hear()


def _events(directory: Path) -> list[dict]:
    records = [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]
    return [{k: v for k, v in record.items() if k not in ("time", "seconds")} for record in records]


def test_bad_input_leaves_nothing(tmp_path):
    with pytest.raises(HypermnesiaError, match="6 tasks of 2 classes need 12 classes, digits gives 10"):
        execute(config("hnet", "stream.tasks=6"), 0, Place(tmp_path / "run" / "seed-0"))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        HypermnesiaError, match="cannot create the run directory .*file/run/seed-0: Not a directory"
    ):
        execute(config(), 0, Place(tmp_path / "file" / "run" / "seed-0"))


def test_a_run_whose_loss_breaks_fails_and_says_where(tmp_path):
    with pytest.raises(RunFailed, match="the loss became .* no checkpoint had been written yet") as failed:
        execute(config("finetune", "optimizer.name=sgd", "optimizer.lr=1e30"), 0, Place(tmp_path / "seed-0"))
    assert failed.value.exit_code == 3


def test_a_full_disk_fails_the_run_which_can_be_resumed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        with pytest.raises(
            RunFailed, match="No space left on device; that mended, go on with: hypermnesia resume"
        ):
            execute(config(), 3, Place(tmp_path / "seed-3"))
    assert resume(tmp_path / "seed-3")["seed"] == 3


def test_a_path_that_is_no_text_is_told_before_anything_is_written(tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    with pytest.raises(HypermnesiaError, match='^"data_dir": ".*caf\udce9" holds bytes that are not UTF-8'):
        execute_seeds(config("finetune"), [0], tmp_path / "run", data_dir=odd)
    assert list(tmp_path.iterdir()) == [odd]


def test_one_process_for_each_directory(tmp_path):
    with pytest.raises(Interrupted):
        execute(config(), 0, Place(tmp_path / "seed-0"), _interrupt)
    assert not (tmp_path / "seed-0" / "lock").exists()
    with locked(tmp_path / "seed-0"):
        said = read(tmp_path / "seed-0" / "lock")
        assert said["process"] == os.getpid()
        (tmp_path / "seed-0" / "lock").unlink()  # a deleted note lets nobody in
        with pytest.raises(InUse, match=r"seed-0 is in use by process \?"):
            resume(tmp_path / "seed-0")


def _interrupt(event):
    if isinstance(event, TaskEnded):
        os.kill(os.getpid(), signal.SIGINT)


def test_other_data_are_refused(tmp_path):
    with pytest.raises(Interrupted):
        execute(config(), 0, Place(tmp_path / "seed-0"), _interrupt)
    told = read(tmp_path / "seed-0" / "stream.json")
    (tmp_path / "seed-0" / "stream.json").write_text(json.dumps(told | {"sha256": "0" * 64}))
    with pytest.raises(Unusable, match=r"was begun on other data \(stream 00000000, now "):
        resume(tmp_path / "seed-0")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("config.toml", b"", "is damaged or of another version: config.toml: config.toml names no benchmark"),
        ("config.toml", b"benchmark = [", "is damaged or of another version: config.toml"),
        ("config.toml", b"\xff", "config.toml cannot be read"),
        ("config.toml", b'benchmark = "split-digits"\napproach = "no"', "unknown approach 'no'"),
        ("environment.json", b"[]", "is damaged: environment.json cannot be used"),
        ("environment.json", b'{"seed": true}', "is damaged: environment.json cannot be used"),
        ("result.json", b"{", "result.json cannot be used"),
        (
            "environment.json",
            b'{"seed": 3, "data_dir": 7}',
            "environment.json cannot be used (environment.json: data_dir: Input should be a valid string",
        ),
        ("result.json", b'{"config_sha256": "0"}', "result.json: format: Field required (and 8 more)"),
        ("result.json", b'{"format": 2}', "result.json has format 2 and this version reads format 1"),
        ("result.json", b'{"format": 1, "seed": 1e999}', "1e999 is no finite number"),
        ("result.json", b'{"format": 1, "seed": NaN}', "NaN is no finite number"),
        ("result.json", b'{"format": 1, "seed": 1%s}' % (b"0" * 400), "a number of 401 digits"),
    ],
)
def test_damage_is_told(finished, tmp_path, name, content, fault):
    directory = tmp_path / "seed-3"
    directory.mkdir()
    for file in ("config.toml", "environment.json", "stream.json", "result.json"):
        (directory / file).write_bytes((finished / "seed-3" / file).read_bytes())
    (directory / name).write_bytes(content)
    with pytest.raises(Unusable) as error:
        execute(config(), 3, Place(directory))
    assert fault in str(error.value)


def test_a_directory_without_a_run_is_told(tmp_path):
    with pytest.raises(
        Unusable,
        match="holds no run: expected seed-K/config.toml in it; hypermnesia list runs .* shows those below",
    ):
        seed_directories(tmp_path)
    with pytest.raises(Unusable, match="is no run directory: config.toml cannot be read"):
        resume(tmp_path)


def test_seeds_are_sorted_by_number_and_summed_up(tmp_path):
    cfg = config("finetune")
    summary = execute_seeds(cfg, [int64(10), 2], tmp_path)  # pyright: ignore[reportArgumentType]
    for seed in (-1, True, 0.5, 2**63):
        with pytest.raises(HypermnesiaError, match=rf"^seed={seed!r}: expected a whole number from 0 to"):
            execute_seeds(cfg, [seed], tmp_path)  # pyright: ignore[reportArgumentType]
    assert [d.name for d in seed_directories(tmp_path)] == ["seed-2", "seed-10"]
    assert summary["seeds"] == [2, 10] and summary["scenarios"]["task"]["average_accuracy"]["n"] == 2
    assert read(tmp_path / "summary.json") == summary
    assert not (tmp_path / "result.json").exists()


def test_a_second_seed_takes_the_copy_of_the_first_away(tmp_path):
    execute_seeds(config("finetune"), [0], tmp_path)
    assert (tmp_path / "result.json").exists()
    execute_seeds(config("finetune"), [1], tmp_path)
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("approach", ["hnet", "joint", "hypermask"])
def test_a_restored_learner_answers_like_the_one_that_was_trained(tmp_path, approach):
    execute(config(approach), 0, Place(tmp_path / "seed-0"))
    run = restored(tmp_path / "seed-0")
    trained = build(config(approach), 0)
    assert checkpoint.load(trained, tmp_path / "seed-0" / "checkpoint", pytest.fail) is not None
    x, _ = trained.tested_on.tests[1].batch(torch.arange(20))
    task = run.learner.task
    run.learner.model.eval(), trained.learner.model.eval()
    with torch.no_grad():
        ours, theirs = (r.learner.model(r.learner.preprocess(x, None), task) for r in (run, trained))
    assert torch.equal(ours, theirs)
    assert run.learner.seen_classes == trained.learner.seen_classes


def test_nothing_to_restore(finished, tmp_path):
    directory = tmp_path / "seed-3"
    directory.mkdir()
    for file in ("config.toml", "environment.json", "stream.json"):
        (directory / file).write_bytes((finished / "seed-3" / file).read_bytes())
    with pytest.raises(Unusable, match="has no checkpoint yet; start or resume the run first"):
        restored(directory)
    (directory / "stream.json").write_text("{}")
    with pytest.raises(Unusable, match="is damaged: stream.json cannot be used"):
        restored(directory)


@pytest.mark.parametrize(
    ("benchmark", "folder"),
    [("split-digits", "split-digits"), ("folder:../a b", "folder_.._a_b"), ("parquet:/x", "parquet__x")],
)
def test_default_directories(benchmark, folder):
    cfg = resolve(benchmark, "er")
    assert default_directory(cfg, Path("out")) == Path("out") / folder / f"er-{cfg.sha256[:8]}"


def test_a_finished_run_keeps_one_checkpoint(tmp_path):
    execute_seeds(resolve("split-digits", "er", SHORT), [0], tmp_path)
    kept = sorted(path.suffix for path in (tmp_path / "seed-0" / "checkpoint").iterdir())
    assert kept == [".json", ".safetensors"] and restored(tmp_path / "seed-0").position.task == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train.threads=2"], "er-"),
        (["memory.size=500", "lr=0.1"], "er-size=500,lr=0.1-"),
        (["weights=mask"], "er-weights=mask-"),
        (["train.epochs=2"], "er-epochs=2.0-"),
        (["net.hidden=[7, 7]"], "er-hidden=_7,7_-"),
    ],
)
def test_directories_have_readable_names(words, said, tmp_path):
    cfg = resolve("split-digits", "er", words)
    assert default_directory(cfg).name == f"{said}{cfg.sha256[:8]}"
    old = tmp_path / "split-digits" / f"er-{cfg.sha256[:8]}"
    old.mkdir(parents=True)
    assert default_directory(cfg, tmp_path) == old, "where version 0.1 has put it"


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r["scenarios"]["task"].pop("matrix"),
        lambda r: r["scenarios"]["task"].update(matrix=[["0.5"]]),
        lambda r: r["scenarios"]["task"].pop("forgetting"),
        lambda r: r["scenarios"].update(task=None),
        lambda r: r["costs"].update(steps=[]),
        lambda r: r.pop("costs"),
        lambda r: r.pop("seed"),
        lambda r: r.update(task_names=[1]),
    ],
)
def test_a_result_that_lacks_something_is_told(
    damage: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    execute_seeds(resolve("split-digits", "finetune", SHORT), [0], tmp_path / "run")
    path = tmp_path / "run" / "seed-0" / "result.json"
    result = read(path)
    damage(result)
    path.write_text(json.dumps(result))
    with pytest.raises(Unusable, match="result.json cannot be used .result.json: .*remove it to run again"):
        summarise(tmp_path / "run")


def test_a_result_of_another_configuration_is_told(tmp_path: Path) -> None:
    cfg = resolve("split-digits", "finetune", SHORT)
    execute_seeds(cfg, [0], tmp_path / "run")
    path = tmp_path / "run" / "seed-0" / "result.json"
    path.write_text(json.dumps(read(path) | {"config_sha256": "0"}))
    with pytest.raises(Unusable, match="is not of the configuration beside it; remove it to run again"):
        execute_seeds(cfg, [0], tmp_path / "run")


def test_a_result_of_another_seed_is_told(tmp_path: Path) -> None:
    cfg = resolve("split-digits", "finetune", SHORT)
    execute_seeds(cfg, [0], tmp_path / "run")
    path = tmp_path / "run" / "seed-0" / "environment.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(Unusable, match="result.json is of seed 0, and the files beside it of 1"):
        resume(tmp_path / "run" / "seed-0")


def test_a_directory_that_another_process_has_just_made_is_in_use(tmp_path):
    cfg, place = resolve("split-digits", "finetune", SHORT), Place(tmp_path / "seed-0")
    run = run_of(cfg, 0, place)
    create(cfg, 0, place, run)
    with pytest.raises(Unusable, match="seed-0 is in use: another process has just begun a run there"):
        create(cfg, 0, place, run)
    assert [path.name for path in tmp_path.iterdir()] == ["seed-0"]
