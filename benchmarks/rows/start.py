"""How long the command takes to answer."""

import os
import subprocess
import sys

from benchmarks.measure import Budget, in_turn, processor_time
from benchmarks.row import Result, Row


def help_page(budget: Budget) -> list[Result]:
    """Processor time of `hypermnesia --help`, and of a Python that does nothing."""

    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ)

    sides = {
        "help": lambda: run("-m", "hypermnesia", "--help"),
        "empty": lambda: run("-c", "pass"),
    }
    found = in_turn(sides, budget, now=processor_time)
    seconds = found["help"].median
    return [
        Result(
            f"hypermnesia --help {seconds:.2f} s",
            f"python -c pass {found['empty'].median:.2f} s",
            "",
            "≤ 0.4 s",
            seconds <= 0.4,
        )
    ]


ROWS = (Row("start", "start of the command", help_page),)
