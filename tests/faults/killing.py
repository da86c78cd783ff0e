"""Kills runs over and over, resumes them, and compares what they leave with runs that nobody killed.

    python tests/faults/killing.py DIRECTORY --kills 10 --seed 0 [--approaches er,hnet] [--jobs 2]

One parent imports everything once and forks a child for every attempt, so that a kill costs a fraction of a second
and not the seconds that importing torch takes; torch has one thread, and has not computed anything, when it is forked.
A child runs the command line and dies by SIGKILL in one of two ways: by the parent's hand at a random instant, or by
its own within a call that touches the disk, when the bytes to write may be half there. After some kills a run is left
to finish. What counts are result.json, the events, and the last checkpoint with every tensor in it: all are compared
bit for bit, without times. The last line of the output is JSON: one record for each approach.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

import torch  # noqa: E402
import torch._dynamo  # noqa: E402 (the first optimizer would import it)

torch.set_num_threads(1)

from contract import BY_NAME, ROWS, Row, words_of  # noqa: E402

from hypermnesia import checkpoint, experiment, runs, streams, tables  # noqa: E402, F401 (what a child would import)
from hypermnesia.cli import main as hypermnesia  # noqa: E402

BENCHMARK = "split-digits"
KILLS_IN_A_ROW = 6
"""After so many a run is left to finish, and another one begins."""
_CHECKPOINT = re.compile(r"seed-0/checkpoint/[0-9]{10}-[0-9]{5}\.(json|safetensors)")
TIMES = ("train_seconds", "steps_per_second", "peak_memory_bytes")
PATIENCE = 120.0
"""Seconds that a child may take."""


@dataclass
class Score:
    """What became of the runs of one approach."""

    approach: str
    kills: int = 0
    inside_writes: int = 0
    """Kills among them in the middle of writing to the disk."""
    runs: int = 0
    """Runs that were killed and resumed until they finished."""
    faults: list[str] = field(default_factory=list)
    """Everything that is not as it would have been."""


# ----------------------------------------------------------------------------------------------------------- children


def fork(act: Callable[[], None], log: Path) -> int:
    """A child that does `act`, with its output in a file; its exit code is that of the command line."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        act()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException as error:  # a defect: the log keeps its traceback
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait(child: int, seconds: float = PATIENCE) -> int | None:
    """The child's exit code, negative for the signal that killed it; None if it is still running after that time."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    return None


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def command(row: Row, directory: Path, *more: str) -> list[str]:
    """The words that begin the run, or go on with it."""
    if (directory / "seed-0").exists():
        return ["resume", str(directory)]
    return ["run", BENCHMARK, row.approach, *words_of(row, *more), "--device", "cpu", "--out", str(directory)]


class Dying:
    """Lets `left` calls that touch the disk pass and dies in the next one."""

    def __init__(self, left: int) -> None:
        self.left = left

    def due(self) -> bool:
        self.left -= 1
        return self.left < 0

    @staticmethod
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if self.due():
                self.die()
            return call(*args, **kwargs)

        return wrapper

    def install(self) -> None:
        """From now on the calls of this process count."""
        os.fsync, os.replace, os.unlink = (self.before(c) for c in (os.fsync, os.replace, os.unlink))
        checkpoint.open = self._opened  # pyright: ignore[reportAttributeAccessIssue]

    def _opened(self, path: Any, mode: str = "r") -> Any:
        return Halved(open(path, mode), self)


class Halved:
    """A file whose writing may end after the first half."""

    def __init__(self, file: IO[Any], dying: Dying) -> None:
        self._file, self._dying = file, dying

    def write(self, content: Any) -> int:
        if self._dying.due():
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            self._dying.die()
        return self._file.write(content)

    def __enter__(self) -> "Halved":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


# ----------------------------------------------------------------------------------------------------------- comparing


def differences(plain: Path, struck: Path) -> Iterator[str]:
    """How what a killed run has left differs from what an untouched one has."""
    ours, theirs = ({str(p.relative_to(d)) for p in d.rglob("*")} for d in (plain, struck))
    odd = {
        name for name in ours ^ theirs if not _CHECKPOINT.fullmatch(name)
    }  # which steps are kept may differ
    if odd:
        yield f"only one of the two has {', '.join(sorted(odd))}"
    for read, what in ((_result, "result.json"), (_events, "events.jsonl")):
        if read(plain / "seed-0") != read(struck / "seed-0"):
            yield f"{what} differs"
    ours, theirs = (_checkpoint(d / "seed-0") for d in (plain, struck))
    if ours[0].keys() != theirs[0].keys():
        yield "the last checkpoints hold different tensors"
        return
    for name, value in ours[0].items():
        if value.dtype != theirs[0][name].dtype or not torch.equal(value, theirs[0][name]):
            yield f"{name} differs"
    if ours[1] != theirs[1]:
        yield "the last checkpoints differ beside their tensors"


def _result(directory: Path) -> Any:
    result = json.loads((directory / "result.json").read_bytes())
    return result | {"costs": {key: value for key, value in result["costs"].items() if key not in TIMES}}


def _events(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "events.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("time", "seconds")} for line in lines]


def _checkpoint(directory: Path) -> tuple[dict[str, torch.Tensor], Any]:
    newest = max((directory / "checkpoint").glob("*.json"))
    tensors, form, _ = checkpoint.read(newest)
    return tensors, _without_seconds(form)


def _without_seconds(form: Any) -> Any:
    if isinstance(form, dict):
        return {key: _without_seconds(value) for key, value in form.items() if key != "seconds"}
    return [_without_seconds(item) for item in form] if isinstance(form, list) else form


# ------------------------------------------------------------------------------------------------------------- killing


def untouched(row: Row, directory: Path, log: Path, *more: str) -> float:
    """Seconds that the run takes when nobody kills it; it stays in `directory` to be compared with."""
    started = time.monotonic()
    words = command(row, directory, *more)
    code = wait(fork(lambda: hypermnesia(words), log))
    if code != 0:
        raise SystemExit(f"{row.approach} fails by itself, with code {code}: {log.read_text()}")
    return time.monotonic() - started


def strike(row: Row, root: Path, kills: int, seed: int) -> Score:
    """Kill runs of one approach `kills` times altogether."""
    rng, score, log = random.Random(f"{seed} {row.approach}"), Score(row.approach), root / "log"
    plain = root / "plain"
    seconds = untouched(row, plain, log, "checkpoint.every=0")
    while score.kills < kills:
        score.runs += 1
        struck = root / f"struck-{score.runs}"
        in_a_row = 0
        while True:
            spared = in_a_row == KILLS_IN_A_ROW or score.kills == kills
            words = command(row, struck, f"checkpoint.every={rng.choice(['0', '0.05'])}")
            dying = Dying(rng.randrange(40)) if rng.random() < 0.5 and not spared else None
            child = fork(lambda words=words, dying=dying: _attempt(words, dying), log)
            patience = PATIENCE if dying or spared else rng.uniform(0, seconds)
            code = wait(child, patience)
            if code is None and not (dying or spared):
                kill(child)
                code = -signal.SIGKILL
            if code != -signal.SIGKILL:
                if code != 0:
                    score.faults.append(f"exit code {code}: {log.read_text()[-500:]}")
                break
            score.kills += 1
            score.inside_writes += dying is not None
            in_a_row += 1
        if score.faults:
            break
        score.faults += [f"run {score.runs}: {found}" for found in differences(plain, struck)]
        shutil.rmtree(struck)
    if "Traceback" in log.read_text():
        score.faults.append(f"a traceback: {log.read_text()[-500:]}")
    return score


def _attempt(words: Sequence[str], dying: Dying | None) -> None:
    if dying:
        dying.install()
    hypermnesia(words)


@contextmanager
def ready(root: Path) -> Iterator[None]:
    """What every child needs, loaded once: the digits, and the modules that are imported late."""
    root.mkdir(parents=True, exist_ok=True)
    streams.load(BENCHMARK)
    yield


def in_jobs(rows: Sequence[Row], jobs: int, work: Callable[[Row], Any], root: Path) -> list[Any]:
    """`work` for every row, by so many children at once; what it gives is written as JSON."""
    children = []
    for job in range(jobs):
        mine = rows[job::jobs]

        def act(mine: Sequence[Row] = mine) -> None:
            for row in mine:
                (root / f"{row.approach}.json").write_text(json.dumps(work(row)))
            raise SystemExit(0)

        children.append(fork(act, root / f"job-{job}.log"))
    for job, child in enumerate(children):
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:
            raise SystemExit((root / f"job-{job}.log").read_text())
    return [json.loads((root / f"{row.approach}.json").read_text()) for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of each approach")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--approaches", default=",".join(row.approach for row in ROWS))
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    rows = [BY_NAME[name] for name in chosen.approaches.split(",")]
    started = time.monotonic()

    def work(row: Row) -> dict[str, Any]:
        directory = chosen.directory / row.approach
        directory.mkdir()
        return asdict(strike(row, directory, chosen.kills, chosen.seed))

    with ready(chosen.directory):
        scores = in_jobs(rows, chosen.jobs, work, chosen.directory)
    kills = sum(score["kills"] for score in scores)
    print(f"{kills} kills in {time.monotonic() - started:.0f} s")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
