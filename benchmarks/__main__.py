"""`python -m benchmarks [ROW ...]`: measure, print, and write `benchmarks/results.md`."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import machine, peers
from benchmarks.row import Result

OUT = Path(__file__).parent / "results.md"


def main() -> None:
    options = _parser().parse_args()
    if options.peers:
        peers.install()
    python = str(peers.PYTHON) if peers.installed() else sys.executable
    known = json.loads(_run(python, ["--list"], options))
    unknown = [name for name in options.rows if name not in known]
    if unknown:
        sys.exit(f"no row {', '.join(unknown)}; there are: {', '.join(known)}")
    lines: dict[str, list[Result]] = {}
    for name in options.rows or known:
        print(f"{name}: {known[name]}", flush=True)
        lines[name] = _measured(python, name, options)
        for result in lines[name]:
            print(f"    {_line(result)}", flush=True)
    header = _header(python, options)
    OUT.write_text(_table(header, known, lines), encoding="utf-8") if not options.rows else None
    print("\n" + header)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help="rows to measure; none = all, and results.md is written"
    )
    parser.add_argument("--peers", action="store_true", help="first install the peers into benchmarks/.peers")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of both sides (1)")
    parser.add_argument("--seconds", type=float, default=8.0, help="time for each side of a row (8)")
    parser.add_argument("--no-memory", action="store_true", help="leave the peak memory of each side out")
    return parser


def _run(python: str, arguments: list[str], options: argparse.Namespace) -> str:
    """The last line that the worker prints, which runs one row in a process of its own."""
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, str(Path(root, "src"))])}
    environment |= {"OMP_NUM_THREADS": str(options.threads), "MKL_NUM_THREADS": str(options.threads)}
    command = [python, "-m", "benchmarks.worker", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command)
    return done.stdout.splitlines()[-1]


def _measured(python: str, name: str, options: argparse.Namespace) -> list[Result]:
    limits = ["--threads", str(options.threads), "--seconds", str(options.seconds)]
    try:
        found = json.loads(_run(python, [name, *limits], options))
    except subprocess.CalledProcessError as error:
        return [Result("failed", f"exit status {error.returncode}", met=False)]
    results = [Result(**one) for one in found["results"]]
    if options.no_memory or not found["sides"]:
        return results
    peaks = []
    for i, label in enumerate(found["sides"]):
        size = json.loads(_run(python, [name, *limits, "--side", str(i)], options))
        peaks.append(f"{label} {size / 2**20:.0f} MiB")
    first, *others = results
    note = "; ".join(part for part in (first.note, "peak memory: " + ", ".join(peaks)) if part)
    return [replace(first, note=note), *others]


def _line(result: Result) -> str:
    met = {True: "met", False: "NOT met", None: ""}[result.met]
    return " | ".join(
        part for part in (result.ours, result.other, result.ratio, result.wanted, met, result.note) if part
    )


def _header(python: str, options: argparse.Namespace) -> str:
    versions = json.loads(_run(python, ["--versions"], options))
    return (
        f"{machine.processor()}; threads on every side: {options.threads}; load average {machine.load()}; {versions}; "
        f"hypermnesia {machine.commit()}; {datetime.now(UTC):%Y-%m-%d}"
    )


def _table(header: str, known: dict[str, str], lines: dict[str, list[Result]]) -> str:
    rows = ["| row | ours | beside | ratio | wanted | |", "|---|---|---|---|---|---|"]
    for name, results in lines.items():
        for result in results:
            met = {True: "✓", False: "✗", None: ""}[result.met]
            note = f"<br>{result.note}" if result.note else ""
            cells = [
                f"`{name}` {known[name]}{note}",
                result.ours,
                result.other,
                result.ratio,
                result.wanted,
                met,
            ]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(
        [
            "# What things cost",
            "",
            "Written by `python -m benchmarks`. Medians of processor time for one step, evaluation or start; the sides of a",
            "row are measured in turn, in one process. A ratio is how many times as fast ours is, or, where the wanted value is",
            "an upper limit, what ours costs in units of the other side. A *slow twin* is the published arrangement of the same",
            "step, written from the paper, where no peer does it.",
            "",
            header,
            "",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()
