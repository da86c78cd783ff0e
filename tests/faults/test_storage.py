"""Disks that are full, cannot be written to, or give back other bytes than were written; two processes in one place."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences
from faults.test_kills import ENVIRONMENT
from running import Said, files_below

from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, execute_seeds
from hypermnesia.runs.recorder import Interrupted
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone

Command = Callable[..., Said]
Mounted = Callable[[Path, int], AbstractContextManager[None]]
PAGE = 4096
WORDS = ["split-digits", "er", *words_of(BY_NAME["er"], "checkpoint.every=0")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that had all the room it wanted."""
    out = tmp_path_factory.mktemp("plain") / "o"
    execute_seeds(resolve(WORDS[0], WORDS[1], WORDS[2:]), [0], out)
    return out


def run(command: Command, out: Path) -> Said:
    done = command("run", *WORDS, "--device", "cpu", "--out", out)
    assert "Traceback" not in done.err + done.out
    return done


def told(done: Said, fault: str) -> None:
    assert done.code in (2, 3) and fault in done.err, done
    assert done.err.startswith("hypermnesia: ") and done.err.count("\n") == 1, done.err


# ----------------------------------------------------------------------------------------------------------- no room


def on_full_disks(command: Command, mounted: Mounted, tmp_path: Path, plain: Path, every: int) -> int:
    """Runs on disks of every `every`th size up to what is enough, resumed when there is room; how many failed."""
    failed = 0
    for pages in range(1, 100, every):
        disk = tmp_path / f"disk-{pages}"
        with mounted(disk, 400 * PAGE):
            free = shutil.disk_usage(disk).free
            (disk / "ballast").write_bytes(bytes(free - pages * PAGE))
            done = run(command, disk / "o")
            if done.code == 0:
                break
            told(done, "No space left on device")
            failed += 1
            again = run(command, disk / "o")  # where it is as full as before
            assert again.code == 0 or again.err.count("No space left on device") == 1
            (disk / "ballast").unlink()
            assert run(command, disk / "o").code == 0
            assert differences(plain, disk / "o") == []
    else:
        pytest.fail("no disk was large enough")
    return failed


def test_full_disks(command: Command, mounted: Mounted, tmp_path: Path, plain: Path) -> None:
    """The short form of the next test."""
    assert on_full_disks(command, mounted, tmp_path, plain, 9) >= 2


@pytest.mark.slow
def test_disks_full_at_every_page(
    command: Command, mounted: Mounted, tmp_path: Path, plain: Path, tell: Callable[[str], None]
) -> None:
    failed = on_full_disks(command, mounted, tmp_path, plain, 1)
    tell(f"{failed} runs on full disks, each resumed: 0 differing results")
    assert failed >= 15


@pytest.mark.parametrize("limit", [100, 2_000, 8_000, 12_000])
def test_files_that_may_not_grow(limit: int, command: Command, tmp_path: Path, plain: Path) -> None:
    """The system's limit on the size of a file stands in for a full disk where none can be mounted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        done = run(command, tmp_path / "o")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told(done, "File too large")
    assert run(command, tmp_path / "o").code == 0
    assert differences(plain, tmp_path / "o") == []


def test_a_disk_that_cannot_be_written_to(
    command: Command, mounted: Mounted, tmp_path: Path, plain: Path
) -> None:
    """From the start, and from the middle of a run on."""
    disk = tmp_path / "disk"
    with mounted(disk, 400 * PAGE):
        half_done(disk / "o" / "seed-0")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        before = files_below(disk)
        told(run(command, disk / "new"), "Read-only file system")
        told(run(command, disk / "o"), "Read-only file system")
        assert files_below(disk) == before
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert run(command, disk / "o").code == 0
        assert differences(plain, disk / "o") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every directory")
def test_a_directory_without_permission(command: Command, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    told(run(command, tmp_path / "closed" / "o"), "Permission denied")


# ------------------------------------------------------------------------------------------------------ other bytes


def half_done(directory: Path, at: int = 7) -> list[Path]:
    """A run that was stopped at its seventh step, or another one, with two checkpoints: their files, the older one's first."""

    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.total_steps == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        execute(resolve(WORDS[0], WORDS[1], WORDS[2:]), 0, Place(directory), stop)
    return sorted((directory / "checkpoint").iterdir())


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Another content: a byte changed in one of three, bits of it in one of three, or cut short."""
    at, kind = rng.randrange(len(content)), rng.randrange(3)
    if kind == 2:
        return content[:at]
    other = rng.randrange(1, 256) if kind else 1 << rng.randrange(8)
    return content[:at] + bytes([content[at] ^ other]) + content[at + 1 :]


def in_spite_of_damage(directory: Path, count: int) -> int:
    """How many of so many damaged newest checkpoints were used in silence; the one before has to be used."""
    *_, newest_json, newest_tensors = half_done(directory)
    cfg, rng, accepted = resolve(WORDS[0], WORDS[1], WORDS[2:]), random.Random(0), 0
    sound = {path: path.read_bytes() for path in (newest_json, newest_tensors)}
    steps = json.loads(json.loads(newest_json.read_bytes())["body"])["extra"]
    fresh = build(cfg, 0)
    for _ in range(count):
        path = rng.choice(list(sound))
        path.write_bytes(damaged(sound[path], rng))
        said: list[str] = []
        extra = checkpoint.load(fresh, directory / "checkpoint", said.append)
        path.write_bytes(sound[path])
        if extra == steps and not said:
            accepted += 1
            continue
        assert fresh.records.steps == 6 and extra is not None
        assert len(said) == 1 and newest_json.stem in said[0] and said[0].endswith("; trying the one before")
    return accepted


def test_damaged_checkpoints(tmp_path: Path) -> None:
    """The short form of the next test."""
    assert in_spite_of_damage(tmp_path / "seed-0", 100) == 0


@pytest.mark.slow
def test_a_thousand_damaged_checkpoints(tmp_path: Path, tell: Callable[[str], None]) -> None:
    accepted = in_spite_of_damage(tmp_path / "seed-0", 1000)
    tell(f"1000 damaged checkpoints: {accepted} silently accepted")
    assert accepted == 0


@pytest.mark.parametrize("both", [False, True])
def test_a_run_with_damaged_checkpoints_ends_like_any_other(
    both: bool, command: Command, tmp_path: Path, plain: Path
) -> None:
    files, rng = half_done(tmp_path / "o" / "seed-0"), random.Random(1)
    for path in files if both else files[2:]:
        path.write_bytes(damaged(path.read_bytes(), rng))
    done = command("resume", tmp_path / "o")
    assert done.code == 0 and "is damaged" in done.err or "cannot be read" in done.err
    assert ("no sound checkpoint is left: starting from the beginning" in done.err) is both
    assert differences(plain, tmp_path / "o") == []


# -------------------------------------------------------------------------------------------------- two in one place


def test_the_second_process_is_told_of_the_first(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = ["split-digits", "finetune", *words_of(BY_NAME["finetune"], "train.iterations=1000000")]
    begin = [sys.executable, "-m", "hypermnesia", "run", *words, "--device", "cpu", "--out", str(out)]
    first = subprocess.Popen(begin, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        lock = out / "seed-0" / "lock"
        while first.poll() is None and not (lock.is_file() and lock.read_text()):
            time.sleep(0.01)
        for second in (["resume", out], ["run", *words, "--device", "cpu", "--out", out]):
            told(command(*second), f"seed-0 is in use by process {first.pid}")
        assert first.poll() is None  # it is none the worse for it
    finally:
        first.kill()
        first.wait()
