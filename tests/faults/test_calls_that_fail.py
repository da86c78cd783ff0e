"""Every call that touches the disk fails once, in turn: the run ends with a message, and goes on when it is mended."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences
from faults.shim import Failing, told

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.locks import LOCK_FILE
from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.runs.execute import execute_seeds

NUMBERS = (errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EACCES, errno.EROFS, errno.EDQUOT)
Tell = Callable[[str], None]


def config(approach: str) -> Config:
    return resolve("split-digits", approach, words_of(BY_NAME[approach], "checkpoint.every=0"))


def calls(cfg: Config, out: Path) -> int:
    """How many calls a run makes that nobody disturbs."""
    counted: list[str] = []
    with told(counted.append):
        execute_seeds(cfg, [0], out)
    assert {"open", "write", "fsync", "replace", "mkdir", "unlink"} <= set(counted)
    return len(counted)


def failed_in_turn(directory: Path, approach: str, every: int) -> tuple[int, list[str]]:
    """(how many calls were made to fail, each with the next number, what came of it that should not)."""
    cfg, faults, tried = config(approach), [], 0
    total = calls(cfg, directory / "plain")
    for left in range(0, total, every):
        number = NUMBERS[left // every % len(NUMBERS)]
        out, failing = directory / "o", Failing(left, number)
        tried += 1
        try:
            with told(failing.before):
                execute_seeds(cfg, [0], out)
        except HypermnesiaError as error:
            if "\n" in str(error):
                faults.append(f"{failing.what} {left}, {number}: more than one line: {error}")
        except Exception as error:
            faults.append(f"{failing.what} {left}, {number}: {type(error).__name__}: {error}")
        execute_seeds(cfg, [0], out)
        if failing.what == "unlink":  # where a note of who holds the lock may not be removed, it stays
            (out / "seed-0" / LOCK_FILE).unlink(missing_ok=True)
        faults += [f"{failing.what} {left}, {number}: {d}" for d in differences(directory / "plain", out)]
        shutil.rmtree(out)
    shutil.rmtree(directory / "plain")
    return tried, faults


def test_some_calls_that_fail(directory: Path) -> None:
    """The short form of the next test."""
    tried, faults = failed_in_turn(directory, "er", 9)
    assert faults == [] and tried >= 15


@pytest.mark.slow
def test_every_call_fails(directory: Path, tell: Tell) -> None:
    counted = [failed_in_turn(directory, approach, 1) for approach in ("finetune", "er", "hnet", "ncm")]
    tried, faults = sum(n for n, _ in counted), [text for _, found in counted for text in found]
    tell(f"{tried} calls to the disk failed, each alone: {len(faults)} tracebacks or differing results")
    assert faults == []
