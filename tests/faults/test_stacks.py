"""Runs that train as one program, stopped anywhere and gone on with in any way: always the same bits."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences

from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.runs.execute import execute_seeds, resume
from hypermnesia.runs.stacks import OneFailed
from hypermnesia.training import checkpoint, guards, loop

Tell = Callable[[str], None]
SEEDS = (2, 0, 1)


class Killed(BaseException):
    """What a killed process would not have lived to see."""


def config(approach: str, *words: str) -> Config:
    return resolve("split-digits", approach, words_of(BY_NAME[approach], "checkpoint.every=0", *words))


def killed_at(cfg: Config, out: Path, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin the seeds together, or go on with them, until so many of their checkpoints have been written."""
    write, left = checkpoint.write, [writes]

    def counted(*args: object, **kwargs: object) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return write(*args, **kwargs)  # pyright: ignore[reportArgumentType, reportCallIssue]

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "write", counted)
        execute_seeds(cfg, SEEDS, out, stacked="on")


def struck(directory: Path, approach: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What differs after so many stacks were killed, half of them gone on with by `resume` of one seed after another."""
    cfg, rng, faults = config(approach), random.Random(approach), []
    execute_seeds(cfg, SEEDS, directory / "plain", stacked="on")
    for number in range(times):
        out = directory / "o"
        killed_at(cfg, out, rng.randrange(40), monkeypatch)
        if number % 2:
            for seed in rng.sample(SEEDS, 3):
                resume(out / f"seed-{seed}")
        execute_seeds(cfg, SEEDS, out, stacked="off" if number % 3 else "on")
        faults += [f"{approach} {number}: {text}" for text in differences(directory / "plain", out)]
        shutil.rmtree(out)
    shutil.rmtree(directory / "plain")
    return faults


@pytest.mark.parametrize(("approach", "times"), [("hnet", 2), ("er", 4)])
def test_a_few_kills(directory: Path, approach: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form of the next test."""
    assert struck(directory, approach, times, monkeypatch) == []


@pytest.mark.slow
def test_many_kills_of_stacks(directory: Path, tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    approaches = ("finetune", "hnet", "er", "der", "derpp", "ewc")
    faults = [text for name in approaches for text in struck(directory, name, 12, monkeypatch)]
    tell(
        f"{12 * len(approaches)} kills of stacks over {len(approaches)} approaches: {len(faults)} differing results"
    )
    assert faults == []


def test_those_that_are_left_go_on_from_where_one_fails(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever the stack was stopped before, they end with the same bits."""
    cfg, check = config("er"), guards.check_loss

    def check_or_fail(loss: object, terms: object, when: Callable[[], str]) -> None:
        if "step 3 of task 1" in when():
            turn[0] += 1
            if turn[0] % 3 == 0:  # the last of the three, each time
                raise guards.RunFailed(f"the loss became nan at {when()}")
        check(loss, terms, when)  # pyright: ignore[reportArgumentType]

    for name in ("plain", "stopped"):
        out = directory / name
        if name == "stopped":
            killed_at(cfg, out, 10, monkeypatch)
        with monkeypatch.context() as patch:
            turn = [0]
            patch.setattr(loop, "check_loss", check_or_fail)
            with pytest.raises(OneFailed, match="the loss became nan at step 3 of task 1"):
                execute_seeds(cfg, SEEDS, out, stacked="on")
            assert not list(out.glob("*/result.json"))
        last = [max((out / f"seed-{seed}" / "checkpoint").glob("*.json")) for seed in SEEDS]
        assert [checkpoint.read(path)[2]["stack"] for path in last[:2]] == [["seed-2", "seed-0"]] * 2
        assert [path.stem for path in last[:2]] == ["0000000007-00001"] * 2
        resume(out / "seed-0")
        assert (out / "seed-2" / "result.json").exists() and not (out / "seed-1" / "result.json").exists()
        shutil.rmtree(out / "seed-1")
    assert differences(directory / "plain", directory / "stopped") == []
