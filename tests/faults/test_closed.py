"""Directories and files that may not be read or written: every command says which one, as an ordinary user meets it."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from contract import BY_NAME, TINY, words_of
from faults import hostile
from running import Said, without_overrides

from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import default_directory
from hypermnesia.runs.execute import execute_seeds

Command = Callable[..., Said]
RUN = ("split-digits", "finetune", *TINY)
DENIED = "Permission denied"
READING: dict[str, tuple[str, ...]] = {
    "run": ("run", *RUN, "--out", "o"),
    "resume": ("resume", "o"),
    "compare": ("compare", *RUN, "--no-bounds", "--out", "compared"),
    "show": ("show", "o"),
    "metrics": ("metrics", "o"),
    "metrics of a file": ("metrics", "matrix.csv"),
    "report": ("report", "o", "-o", "page.html"),
    "list runs": ("list", "runs", "o"),
    "list recipes": ("list", "recipes", "--ledger", "settings.toml"),
    "predict": ("predict", "o", "data/a/0.png"),
    "export": ("export", "o", "--task", "1"),
    "learn": ("learn", "o", "data", "--out", "new"),
    "unlearn": ("unlearn", "c", "0", "--out", "new"),
    "sweep": ("sweep", *RUN, "optimizer.lr=0.1,0.01", "--out", "searched"),
    "a folder of images": ("run", "folder:data", "finetune", "net=mlp", *TINY[3:], "--out", "new"),
    "csv files": ("run", "csv:table", "finetune", *TINY[3:], "--out", "new"),
    "parquet files": ("run", "parquet:columns", "finetune", *TINY[3:], "--out", "new"),
    "settings": ("run", *RUN, "--config", "settings.toml", "--out", "new"),
    "data sets": ("run", "split-mnist", "finetune", "--data-dir", "sets", "--out", "new"),
}
"""Commands that read what may be closed."""
WRITING: dict[str, tuple[str, ...]] = {
    "run": ("run", *RUN, "--out", "shut/new"),
    "compare": ("compare", *RUN, "--no-bounds", "--out", "shut/new"),
    "report": ("report", "o", "-o", "shut/page.html"),
    "export": ("export", "o", "--task", "1", "-o", "shut/new"),
    "learn": ("learn", "o", "data", "--out", "shut/new"),
    "sweep": ("sweep", *RUN, "optimizer.lr=0.1,0.01", "--out", "shut/new"),
}
"""Commands that write into a directory that is shut."""


def compared() -> Path:
    """Where `compare` has the run."""
    return default_directory(resolve(RUN[0], RUN[1], TINY), Path("compared"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run, data and settings where anybody may go; the tests work there."""
    shared = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path("/tmp")
    place = shared / f"hypermnesia-closed-{os.getpid()}"
    place.mkdir()
    execute_seeds(resolve(RUN[0], RUN[1], TINY), [0], place / "o")
    execute_seeds(resolve(RUN[0], "ncm", words_of(BY_NAME["ncm"])), [0], place / "c")
    shutil.copytree(place / "o", place / compared())
    for name in ("a/0", "a/1", "b/0", "b/1"):
        (place / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "data" / f"{name}.png").write_bytes(hostile.encoded((8, 8)))
    for name in ("table/a.csv", "columns/a.parquet", "sets/mnist/a.parquet", "searched/search.json"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("never read")
    (place / "matrix.csv").write_text("0.9,0\n0.8,0.9\n")
    (place / "settings.toml").write_text("")
    (place / "shut").mkdir()
    before = Path.cwd()
    os.chdir(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERMNESIA_CACHE", str(place / "cache"))
        yield place
    os.chdir(before)
    shutil.rmtree(place)


@contextmanager
def closed(path: Path, mode: int = 0) -> Iterator[None]:
    """Within the block `path` is closed to us."""
    before = path.stat().st_mode
    path.chmod(mode)
    with without_overrides():
        yield
    path.chmod(before)


def faults_of(done: Said, name: str) -> Iterator[str]:
    """What is wrong with how a command ended that met a closed file; nothing if it did without."""
    refused = done.code in (2, 3) and done.err.splitlines()[-1].startswith("hypermnesia: ")
    if "Traceback" in done.err + done.out or not (done.code == 0 or refused and DENIED in done.err):
        yield f"{name}: {done}"


def paths_of(words: tuple[str, ...], place: Path) -> list[Path]:
    """What the command reads, the checkpoints' files aside."""
    named = {place / word.rpartition(":")[2].partition("/")[0] for word in words if word != "run"}
    named = {path for path in named if path.exists()}
    below = {path for top in named for path in top.rglob("*") if path.parent.name != "checkpoint"}
    return sorted(named | below)


@pytest.mark.parametrize("name", READING)
def test_what_may_not_be_read(name: str, place: Path, command: Command) -> None:
    words, faults, refused = READING[name], [], 0
    for path in paths_of(words, place):
        with closed(path):
            done = command(*words)
        faults += faults_of(done, f"{name}, without {path}")
        refused += DENIED in done.err + done.out
        shutil.rmtree(place / "new", ignore_errors=True)
    assert faults == [] and refused


@pytest.mark.parametrize("name", WRITING)
def test_where_nothing_may_be_written(name: str, place: Path, command: Command) -> None:
    for mode in (0o500, 0):
        with closed(place / "shut", mode):
            done = command(*WRITING[name])
        assert done.code and list(faults_of(done, f"shut {mode}")) == [] and "shut" in done.err
    assert not list((place / "shut").iterdir())
