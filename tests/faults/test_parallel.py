"""Several processes in one place at once."""

import json
import subprocess
import sys
from pathlib import Path

from contract import BY_NAME, words_of
from faults.test_kills import ENVIRONMENT

STARTED = """
import sys
from hypermnesia.commands.app import main
print("ready", flush=True)
sys.stdin.readline()
main(sys.argv[1:])
"""


def at_once(*commands: list[str]) -> list[tuple[int, str]]:
    """Exit code and standard error of commands that all begin at the same moment."""
    begun = [
        subprocess.Popen(
            [sys.executable, "-c", STARTED, *command],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    for process in begun:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in begun:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=300)[1] for process in begun]
    return [(process.returncode, text) for process, text in zip(begun, said, strict=True)]


def test_seeds_into_one_directory(directory: Path) -> None:
    """None fails and none is left out of the summary, by whichever is the last."""
    out = directory / "o"
    words = ["run", "split-digits", "finetune", *words_of(BY_NAME["finetune"]), "--out", str(out)]
    done = at_once(*([*words, "--device", "cpu", "--seeds", str(seed)] for seed in range(3)))
    assert [code for code, _ in done] == [0] * 3, done
    assert json.loads((out / "summary.json").read_text())["seeds"] == [0, 1, 2]
    assert {path.name for path in out.iterdir()} == {"summary.json", *(f"seed-{seed}" for seed in range(3))}
    again = at_once(*[["resume", str(out)]] * 2)
    assert [code for code, _ in again] == [0] * 2, again
