"""Kills runs over and over, resumes them, and compares what they leave with runs that nobody killed.

    python tests/faults/killing.py DIRECTORY --kills 10 --seed 0 [--of er,hnet,stack,learn] [--jobs 2] [--signals]

One parent imports everything once and forks a child for every attempt, so that a kill costs a fraction of a second
and not the seconds that importing torch takes. It has one thread and does nothing but fork, compare and wait. A child
runs the command line and dies by SIGKILL in one of two ways: by the parent's hand at a random instant, or by its own
within a call that touches the disk, when the bytes to write may be half there. After some kills a run is left to
finish. What counts are result.json, the events, and the last checkpoint with every tensor in it: all are compared bit
for bit, without times, with those of runs that nobody killed. Another parent (--plain) has made these beforehand: its
sets have another order, as those of any two processes, and what depends on that shows. With --signals runs are asked
to stop (SIGTERM, SIGINT) instead, and have to say so by their exit code. What is killed is a run of each approach, or
one of the commands that make several: a stack, `learn`, `compare`, `sweep`. The last line of the output is JSON: one record
for each.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

import torch  # noqa: E402
import torch._dynamo  # noqa: E402 (the first optimizer would import it)

torch.set_num_threads(1)

from contract import BY_NAME, TINY, Row, words_of  # noqa: E402
from faults.comparing import differences  # noqa: E402
from faults.shim import OPENERS  # noqa: E402
from PIL import Image  # noqa: E402

from hypermnesia import data  # noqa: E402
from hypermnesia.commands import tables  # noqa: E402, F401 (what a child would import)
from hypermnesia.commands.app import main as hypermnesia  # noqa: E402
from hypermnesia.evaluation.schema import CHECKSUM  # noqa: E402

BENCHMARK = "split-digits"
KILLS_IN_A_ROW = 6
"""After so many a run is left to finish, and another one begins."""
SOON = 10.0
"""Seconds within which a run that was asked to stop has to end."""
WHILE_IT_TRAINS = 20, 36
"""The calls that touch the disk after the first ones, which set the run up, and before the last checkpoint."""
PATIENCE = 120.0
"""Seconds that a child may take."""
LONGER = ("train.iterations=50", "checkpoint.every=0.01")
"""Words for runs that are still running when a signal comes."""


@dataclass
class Score:
    """What became of one approach's runs, or one command's."""

    of: str
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


Words = Callable[[Path, Sequence[str]], list[str]]
"""(where the result goes, further words) → the words of a command."""


def of_approach(row: Row) -> Words:
    """The words that begin a run, or go on with it."""

    def words(directory: Path, more: Sequence[str]) -> list[str]:
        if (directory / "seed-0").exists():
            return ["resume", str(directory)]
        return [*("run", BENCHMARK, row.approach), *words_of(row, *more), *CPU, "--out", str(directory)]

    return words


def stack(directory: Path, more: Sequence[str]) -> list[str]:
    words = words_of(BY_NAME["er"], *more)
    return ["run", BENCHMARK, "er", *words, *CPU, *SEEDS, "--stack", "on", "--out", str(directory)]


def learn(directory: Path, more: Sequence[str]) -> list[str]:
    """Of a run that knows three tasks, so that one more is trained."""
    return [
        "learn",
        str(finished(directory)),
        str(directory.parent / "images"),
        "--out",
        str(directory),
        *CPU,
    ]


def finished(directory: Path) -> Path:
    """The run that `learn` goes on from, and the images that it learns; made once beside the others."""
    out, images = directory.parent / "finished", directory.parent / "images"
    if not out.exists():
        for name in ("a/0", "a/1", "a/2", "b/0", "b/1", "b/2"):
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), len(list(images.rglob("*"))) * 9).save(images / f"{name}.png")
        every = words_of(BY_NAME["hnet"], "checkpoint.every=0")
        begun = ["run", BENCHMARK, "hnet", *every, *CPU, "--out", str(out)]
        if wait(fork(lambda: hypermnesia(begun), directory.parent / "log")) != 0:
            raise SystemExit((directory.parent / "log").read_text())
    return out


def compare(directory: Path, more: Sequence[str]) -> list[str]:
    words = [*TINY, "memory.size=12", *more]
    return ["compare", BENCHMARK, "finetune", "er", *words, *CPU, "--no-bounds", "--out", str(directory)]


def sweep(directory: Path, more: Sequence[str]) -> list[str]:
    """Its trials are what they are: with other words it is another search."""
    words = ["optimizer.lr=0.1,0.01", *TINY, "checkpoint.every=0", "--workers", "1", "--final-seeds", "1"]
    return ["sweep", BENCHMARK, "finetune", *words, "--out", str(directory)]


COMMANDS: dict[str, Words] = {"stack": stack, "learn": learn, "compare": compare, "sweep": sweep}
"""Those that are begun again as they were."""
CPU = ("--device", "cpu")
SEEDS = ("--seeds", "0..2")


class Dying:
    """Lets `left` calls that touch the disk pass and dies in the next one."""

    def __init__(self, left: int) -> None:
        self.left = left

    def due(self) -> bool:
        self.left -= 1
        return self.left < 0

    def die(self) -> None:
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
        for module in OPENERS:
            module.open = self._opened  # pyright: ignore[reportAttributeAccessIssue]

    def _opened(self, path: Any, mode: str = "r") -> Any:
        file = open(path, mode)
        return Halved(file, self) if mode[0] in "wa" else file


class Asking(Dying):
    """Sends this process a signal to stop, once, instead: it comes while the run trains, however fast it is."""

    def __init__(self, left: int, number: signal.Signals, asked: Path) -> None:
        super().__init__(left)
        self.number, self.asked = number, asked

    def due(self) -> bool:
        return super().due() and self.left == -1

    def die(self) -> None:
        self.asked.touch()
        os.kill(os.getpid(), self.number)


class Halved:
    """A file whose writing may end after the first half."""

    def __init__(self, file: IO[Any], dying: Dying) -> None:
        self._file, self._dying = file, dying

    def write(self, content: Any) -> int:
        if self._dying.due():
            half = len(content) // 2
            self._file.write(content[:half])
            self._file.flush()
            self._dying.die()
            content = content[half:]
        return self._file.write(content)

    def __enter__(self) -> "Halved":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


# ------------------------------------------------------------------------------------------------------------- killing


def untouched(name: str, command: Words, root: Path, *more: str) -> Score:
    """What nobody kills stays in `root`/plain to be compared with, and how many seconds it took beside it."""
    words = command(root / "plain", more)
    log, started = root / "log", time.monotonic()
    code = wait(fork(lambda: hypermnesia(words), log))
    if code != 0:
        raise SystemExit(f"{name} fails by itself, with code {code}: {log.read_text()}")
    (root / "seconds").write_text(str(time.monotonic() - started))
    return Score(name)


def strike(name: str, command: Words, root: Path, kills: int, seed: int) -> Score:
    """Kill what a command does `kills` times altogether, half of them within writes."""
    rng, score, log = random.Random(f"{seed} {name}"), Score(name), root / "log"
    plain, seconds = root / "plain", float((root / "seconds").read_text())
    while score.kills < kills and not score.faults:
        score.runs += 1
        struck, in_a_row = root / f"struck-{score.runs}", 0
        while True:
            spared = in_a_row == KILLS_IN_A_ROW or score.kills == kills
            behind = 2 * score.inside_writes <= score.kills
            dying = Dying(rng.randrange(40)) if behind and not spared else None
            words = command(struck, [f"checkpoint.every={rng.choice(['0', '0.05'])}"])
            child = fork(lambda words=words, dying=dying: attempt(words, dying), log)
            code = wait(child, PATIENCE if dying or spared else rng.uniform(0, seconds))
            if code is None:
                kill(child)
                code = "none: it did not end" if dying or spared else -signal.SIGKILL
            if code != -signal.SIGKILL:
                break
            score.kills, in_a_row = score.kills + 1, in_a_row + 1
            score.inside_writes += dying is not None
        score.faults += judged(code, 0, log) or of_all(plain, struck)
        shutil.rmtree(struck)
    return score


def attempt(words: Sequence[str], dying: Dying | None) -> None:
    """Run the command line, until its end or that of this process."""
    if dying:
        dying.install()
    hypermnesia(words)


def of_all(plain: Path, struck: Path) -> list[str]:
    """The differences of all run directories below, and of what a search wrote down."""
    runs = {saves.parent.parent.relative_to(plain) for saves in plain.rglob("seed-*/checkpoint")}
    found = [f"{run}: {text}" for run in sorted(runs) for text in differences(plain / run, struck / run)]
    for path in plain.rglob("sweep.json"):
        ours, theirs = (json.loads((d / path.name).read_bytes()) for d in (path.parent, struck))
        for trial in (*ours["trials"], *theirs["trials"]):
            del trial["seconds"]
        for summary in (ours["final"], theirs["final"]):
            (summary or {}).pop("costs", None)
            (summary or {}).get("search", {}).pop("seconds", None)
        found += [
            f"sweep.json: {key} differs" for key in ours if key != CHECKSUM and ours[key] != theirs[key]
        ]
    return found if runs else ["there is nothing to compare"]


def stop(name: str, command: Words, root: Path, seed: int) -> Score:
    """Ask a command to stop, once with each signal; it has to save itself and say so."""
    rng, score, log = random.Random(f"{seed} {name}"), Score(name), root / "log"
    plain = root / "plain"
    for number in (signal.SIGTERM, signal.SIGINT):
        stopped, asked = root / number.name, root / f"{number.name}-asked"
        words, asking = command(stopped, LONGER), Asking(rng.randrange(*WHILE_IT_TRAINS), number, asked)
        code = wait(fork(lambda words=words, asking=asking: attempt(words, asking), log))
        score.faults += judged(code, 128 + number, log)
        took = time.time() - asked.stat().st_mtime
        if took > SOON:
            score.faults.append(f"it took {took:.1f} s to stop")
        score.kills += 1
        score.faults += judged(wait(fork(lambda at=stopped: hypermnesia(command(at, LONGER)), log)), 0, log)
        score.faults += of_all(plain, stopped)
    return score


def judged(code: object, expected: int, log: Path) -> list[str]:
    """What is wrong with how a child ended."""
    text = log.read_text()
    if code != expected or "Traceback" in text:
        return [f"exit code {code}, expected {expected}: {text[-600:]}"]
    return []


# ---------------------------------------------------------------------------------------------------- several at once


def in_jobs(
    names: Sequence[str], jobs: int, work: Callable[[str], Score], root: Path
) -> list[dict[str, Any]]:
    """The score of every one, worked out by so many children at once."""

    def act(mine: Sequence[str]) -> None:
        for name in mine:
            (root / f"{name}.json").write_text(json.dumps(asdict(work(name))))
        raise SystemExit(0)

    children = [fork(lambda job=job: act(names[job::jobs]), root / f"job-{job}.log") for job in range(jobs)]
    for job, child in enumerate(children):
        if os.waitpid(child, 0)[1]:
            raise SystemExit((root / f"job-{job}.log").read_text())
    return [json.loads((root / f"{name}.json").read_text()) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--kills", type=int, default=10, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--of", default=",".join(BY_NAME), help=f"approaches, or {', '.join(COMMANDS)}")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--signals", action="store_true", help="ask runs to stop instead")
    parser.add_argument(
        "--plain", action="store_true", help="only make the runs that the others are compared with"
    )
    chosen = parser.parse_args()
    started = time.monotonic()

    def work(name: str) -> Score:
        directory, words = chosen.directory / name, COMMANDS.get(name) or of_approach(BY_NAME[name])
        if chosen.plain:
            directory.mkdir()
            every = LONGER if chosen.signals else ("checkpoint.every=0",)
            return untouched(name, words, directory, *every)
        if chosen.signals:
            return stop(name, words, directory, chosen.seed)
        return strike(name, words, directory, chosen.kills, chosen.seed)

    if not chosen.plain:
        subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--plain"], check=True, stdout=subprocess.DEVNULL
        )
    chosen.directory.mkdir(parents=True, exist_ok=True)
    data.load(BENCHMARK)  # imports what reads the digits, for all children
    scores = in_jobs(chosen.of.split(","), chosen.jobs, work, chosen.directory)
    print(f"{sum(s['kills'] for s in scores)} kills in {time.monotonic() - started:.0f} s")
    print(json.dumps(scores))


if __name__ == "__main__":
    main()
