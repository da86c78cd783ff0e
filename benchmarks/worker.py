"""Measures one row in a process of its own and prints what it found as JSON; started by `python -m benchmarks`."""

import argparse
import json
from dataclasses import asdict

import torch

from benchmarks import machine
from benchmarks.measure import Budget
from benchmarks.row import Absent, Result, peak_memory
from benchmarks.rows import ROWS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("row", nargs="?")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--versions", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--side", type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.list:
        print(json.dumps({name: row.about for name, row in ROWS.items()}))
    elif options.versions:
        print(json.dumps(machine.versions()))
    elif options.side is not None:
        step = ROWS[options.row].sides[options.side].make()
        for _ in range(3):
            step()
        print(json.dumps(peak_memory()))
    else:
        row = ROWS[options.row]
        try:
            results = row.run(Budget(seconds=options.seconds))
        except Absent as reason:
            results = [Result("", "", note=f"not measured: {reason}")]
        sides = [side.label for side in row.sides]
        print(json.dumps({"results": [asdict(result) for result in results], "sides": sides}))


if __name__ == "__main__":
    main()
