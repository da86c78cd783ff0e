"""Every file of a run's directory damaged: told, or refused, or it makes no difference; never used in silence."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.comparing import differences
from faults.hostile import encoded
from faults.test_storage import WORDS, damaged, half_done, plain
from running import Said, files_below, read

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.execute import execute_seeds, resume
from hypermnesia.training.checkpoint import read as read_checkpoint

Tell = Callable[[str], None]
Command = Callable[..., Said]
Capture = pytest.CaptureFixture[str]
AT = 5
"""A task's first step, which is logged: so its checkpoint goes with a longer log than the one before."""
KEPT = {"config.toml", "environment.json", "stream.json", "events.jsonl", "checkpoint"}
__all__ = ["plain"]


@pytest.fixture
def half(directory: Path) -> Path:
    half_done(directory / "sound" / "seed-0", AT)
    return directory / "sound"


def tried(half: Path, name: str, content: bytes | None, plain: Path, capsys: Capture) -> str:
    """What came of a run with this file instead: refused, told, the same, or accepted in silence."""
    out = half.with_name("o")
    shutil.copytree(half, out)
    (out / name).unlink() if content is None else (out / name).write_bytes(content)
    capsys.readouterr()
    try:
        resume(out / "seed-0")
        said = capsys.readouterr().err
        execute_seeds(resolve(WORDS[0], WORDS[1], WORDS[2:]), [0], out)
        wrong = [
            text for text in differences(plain, out) if "events.jsonl" not in text or "events" not in said
        ]
        as_if_killed = content is None and "checkpoint" in name  # it had not been written yet
        return "told" if (said or as_if_killed) and not wrong else f"accepted in silence: {wrong}"
    except HypermnesiaError as error:
        assert "\n" not in str(error)
        return "refused"
    finally:
        shutil.rmtree(out)


def of_every_file(half: Path, plain: Path, each: int, capsys: Capture) -> tuple[int, list[str]]:
    """(files damaged, those that were accepted in silence)."""
    rng, sound = random.Random(0), files_below(half)
    assert {Path(name).parts[1] for name in sound} == KEPT
    older = sorted(name for name in sound if "checkpoint" in name)[:2]
    faults, count = [], 0
    for name, content in sound.items():
        if name in older:
            continue  # not read while the newer one is sound
        for number in range(each):
            came = tried(half, name, None if number == 0 else damaged(content, rng), plain, capsys)
            count += 1
            if came not in ("refused", "told"):
                faults.append(f"{name} {number}: {came}")
    return count, faults


def test_some_damage_of_every_file(half: Path, plain: Path, capsys: Capture) -> None:
    """The short form of the next test."""
    count, faults = of_every_file(half, plain, 5, capsys)
    assert faults == [] and count == 30


@pytest.mark.slow
def test_much_damage_of_every_file(half: Path, plain: Path, capsys: Capture, tell: Tell) -> None:
    count, faults = of_every_file(half, plain, 300, capsys)
    tell(f"{count} damaged files of a run that goes on: {len(faults)} silently accepted")
    assert faults == []


# ----------------------------------------------------------------------------------------------- a finished run

READERS = {
    "show": ("show", "o"),
    "metrics": ("metrics", "o"),
    "report": ("report", "o", "--format", "md"),
    "predict": ("predict", "o", "a.png"),
    "export": ("export", "o", "--task", "1", "-o", "x"),
    "resume": ("resume", "o"),
}
LEFT = {"result.json", "summary.json"}
"""What a finished run has beside the rest, below and in DIR."""


def read_in_spite_of_it(
    place: Path, each: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, list[str]]:
    """(files of a finished run damaged, readers that then gave out something else and said nothing)."""
    monkeypatch.chdir(place)
    execute_seeds(resolve(WORDS[0], WORDS[1], WORDS[2:]), [0], place / "o")
    (place / "a.png").write_bytes(encoded((8, 8)))
    rng, sound = random.Random(0), files_below(place / "o")
    assert {Path(name).parts[min(1, name.count("/"))] for name in sound} == KEPT | LEFT
    faults, count = [], 0
    for reader, words in READERS.items():
        expected = command(*words)
        assert expected.code == 0, expected
        for name, content in sound.items():
            for number in range(each):
                path = place / "o" / name
                path.unlink() if number == 0 else path.write_bytes(damaged(content, rng))
                done = command(*words)
                count += 1
                as_if_killed = number == 0 and name.endswith("result.json")  # it had not been written yet
                told = done.err or as_if_killed or "\n\nNot read:\n\n- seed-0: " in done.out
                silent = done.code == 0 and not told and done.out != expected.out
                if silent or done.code not in (0, 2) or "Traceback" in done.err:
                    faults.append(f"{reader} with {name} {number}: {done}")
                for left, before in sound.items():  # resume makes it whole again
                    (place / "o" / left).write_bytes(before)
    return count, faults


def test_some_damage_of_a_finished_run(
    directory: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short form of the next test."""
    count, faults = read_in_spite_of_it(directory, 2, command, monkeypatch)
    assert faults == [] and count == 2 * len(READERS) * 9


@pytest.mark.slow
def test_much_damage_of_a_finished_run(
    directory: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tell: Tell
) -> None:
    count, faults = read_in_spite_of_it(directory, 50, command, monkeypatch)
    tell(
        f"{count} damaged files of a finished run, for {', '.join(READERS)}: {len(faults)} silently accepted"
    )
    assert faults == []


# ------------------------------------------------------------------------------------------------------- the log


def test_a_log_that_is_damaged_after_the_older_checkpoint_is_made_again(
    half: Path, plain: Path, capsys: Capture
) -> None:
    older, newer = (mark["events"] for mark in marks(half))
    assert 0 < older < newer
    content = (half / "seed-0" / "events.jsonl").read_bytes()
    damages = (content[: newer - 5], content[: older + 3] + b"\xff" + content[older + 4 :])
    for number, damage in enumerate(damages):
        out = half.with_name(f"o-{number}")
        shutil.copytree(half, out)
        (out / "seed-0" / "events.jsonl").write_bytes(damage)
        resume(out / "seed-0")
        assert "going on from the checkpoint before, which it fits" in capsys.readouterr().err
        execute_seeds(resolve(WORDS[0], WORDS[1], WORDS[2:]), [0], out)
        assert differences(plain, out) == []


@pytest.mark.parametrize("how", ["deleted", "a byte in its second line"])
def test_of_a_log_that_is_damaged_before_it_evaluations_are_put_back(
    how: str, half: Path, plain: Path, capsys: Capture
) -> None:
    log = half / "seed-0" / "events.jsonl"
    content = log.read_bytes()
    log.unlink() if how == "deleted" else log.write_bytes(content.replace(b"\n{", b"\n\xff", 1))
    result = resume(half / "seed-0")
    said = capsys.readouterr().err
    assert "events.jsonl is not" in said and "put back from the checkpoint: losses are missing" in said
    assert result["scenarios"] == read(plain / "seed-0" / "result.json")["scenarios"]

    def evaluations(directory: Path) -> list[object]:
        lines = [line for line in (directory / "seed-0" / "events.jsonl").read_text().splitlines()]
        return [line.partition(',"event"')[2] for line in lines if '"evaluated"' in line]

    assert evaluations(half) == evaluations(plain)


def test_a_torn_last_line_is_cut_off_with_a_word(half: Path, plain: Path, capsys: Capture) -> None:
    with (half / "seed-0" / "events.jsonl").open("ab") as log:
        log.write(b'{"time":1.0,"eve')
    resume(half / "seed-0")
    assert "the torn last line of events.jsonl is cut off" in capsys.readouterr().err
    execute_seeds(resolve(WORDS[0], WORDS[1], WORDS[2:]), [0], half)
    assert differences(plain, half) == []


def marks(half: Path) -> list[dict[str, int]]:
    return [read_checkpoint(path)[2] for path in sorted((half / "seed-0" / "checkpoint").glob("*.json"))]
