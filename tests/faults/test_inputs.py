"""Bad input ends with one message and an exit code: never with a traceback, and nothing half-written is left."""

import contextlib
import io
import resource
import shutil
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from contract import TINY
from faults import fuzzing, hostile
from faults.hostile import Case
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from running import Said, files_below, without_overrides

from hypermnesia.commands.app import main
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs import execute as runs

SPACE = 4 * 2**30
"""Bytes of memory that bad input may take."""
PATIENCE = 30.0
"""Seconds that it may take."""


class Accepted(HypermnesiaError):
    """The input was good: training would begin now."""

    exit_code = 0


@pytest.fixture
def place(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty directory to work in, as an ordinary user without a home, where no run is ever begun; nor is one gone on
    with."""

    def accept(*_: Any) -> None:
        raise Accepted("accepted")

    monkeypatch.setattr(runs, "create", accept)
    monkeypatch.setattr(runs, "_train", accept)
    monkeypatch.setenv("HYPERMNESIA_CACHE", str(directory / "cache"))
    monkeypatch.delenv("HOME", raising=False)
    (directory / "work").mkdir()
    directory.chmod(0o755)
    monkeypatch.chdir(directory / "work")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + SPACE, hard))  # what asks for more is told at once
    with without_overrides():
        yield directory / "work"
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def in_ascii(*words: str) -> Said:
    """Run the command line in this process, on a terminal that knows ASCII alone."""
    with (
        io.TextIOWrapper(io.BytesIO(), "ascii") as out,
        io.TextIOWrapper(io.BytesIO(), "ascii") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        with pytest.raises(SystemExit) as ended:
            main(words)
        out.seek(0)
        err.seek(0)
        assert isinstance(ended.value.code, int | None)
        return Said(ended.value.code or 0, out.read(), err.read())


def tried(case: Case, place: Path) -> str:
    """What became of the case: "refused" or "accepted"; anything else raises."""
    for entry in place.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for name, content in case.files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    before = files_below(place)
    done = in_ascii(*case.words)
    assert "Traceback" not in done.err + done.out
    if done.code == 0:
        return "accepted"
    assert done.code == 2, done
    message = [line for line in done.err.splitlines() if not line.startswith("hypermnesia: o")]
    assert done.err.startswith("Usage: ") or done.err.startswith("hypermnesia: "), done.err
    assert len(message) <= 20, done.err
    after = files_below(place)
    after.pop("o/seed-0/lock", None)  # who looks whether a run is in use leaves its mark
    before.pop("o/seed-0/lock", None)
    assert after == before
    return "refused"


class Hung(BaseException):
    """A case that takes longer than anybody would wait."""


def hung(number: int, frame: object) -> None:
    raise Hung


def count(cases: st.SearchStrategy[Case], examples: int, place: Path) -> tuple[Counter[str], list[str]]:
    """How many of so many cases were refused and accepted; and every case that ended in another way."""
    found: Counter[str] = Counter()
    faults: list[str] = []

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases)
    def each(case: Case) -> None:
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            found[tried(case, place)] += 1
        except (Exception, Hung) as error:
            faults.append(f"{type(error).__name__}: {str(error)[:300]} {case.words}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, hung)
    try:
        each()
    finally:
        signal.signal(signal.SIGALRM, before)
    return found, faults


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a finished run."""
    out = tmp_path_factory.mktemp("sound") / "o"
    runs.execute_seeds(resolve("split-digits", "finetune", TINY), [0], out)
    return files_below(out)


KINDS: dict[str, tuple[int, Callable[[dict[str, bytes]], st.SearchStrategy[Case]]]] = {
    "words": (8300, lambda sound: hostile.words()),
    "toml": (7100, lambda sound: hostile.toml()),
    "tables": (3000, lambda sound: hostile.tables()),
    "folders": (2500, lambda sound: hostile.folders()),
    "run directories": (2700, hostile.run_directories),
}
"""What is made up, and how many of it the long form tries."""


@pytest.mark.parametrize("kind", KINDS)
def test_some_bad_input_of_every_kind(kind: str, place: Path, sound: dict[str, bytes]) -> None:
    """The short form of the next test."""
    found, faults = count(KINDS[kind][1](sound), 60, place)
    assert faults == []
    assert found["refused"] >= 15


@pytest.mark.slow
def test_twenty_thousand_bad_inputs(
    place: Path,
    sound: dict[str, bytes],
    tell: Callable[[str], None],
) -> None:
    total: Counter[str] = Counter()
    wrong: list[str] = []
    for kind, (examples, cases) in KINDS.items():
        found, faults = count(cases(sound), examples, place)
        wrong += faults
        tell(f"{found['refused']} bad {kind} refused ({found['accepted']} good ones among them accepted)")
        total += found
    tell(f"{total['refused'] + len(wrong)} bad inputs: {len(wrong)} tracebacks")
    assert wrong == []
    assert total["refused"] >= 20_000


@pytest.mark.parametrize("target", sorted(fuzzing.TARGETS))
def test_fuzz_targets(target: str, tmp_path: Path) -> None:
    """Every target takes any bytes; what they find beyond errors of the user's would be raised here."""
    assert fuzzing.fuzz(target, 300, seed=0, directory=tmp_path) == 300
