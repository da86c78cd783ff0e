"""`make proof`: every case of cases.py run anew, its bits held against those written down in expected.json.

    python tests/proof/prove.py [CASE ...] [--record] [--against REVISION] [--source DIR]

Bits depend on the processor and on torch, so expected.json names both. On another machine, `--against REVISION` takes
the expected bits from that commit, which it checks out beside and runs here. `--record` writes expected.json: on
purpose only, with the reason in the commit.
"""

import argparse
import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import platform
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPECTED = HERE / "expected.json"
sys.path.insert(0, str(HERE))

from cases import CASES, Case  # noqa: E402

VOLATILE = {
    *("time", "seconds", "train_seconds", "steps_per_second", "peak_memory_bytes", "created", "directory"),
    *("config_sha256", "checksum", "datetime_start", "started", "git", "commit"),
}
"""Keys that differ from run to run, or name a configuration rather than a result."""
_HASHED = re.compile(r"(-[\w.]+=[^/]*)?-[0-9a-f]{8}(?=/|$)")
"""The part of a directory's name that says which configuration it holds: settings and hash."""
Bits = dict[str, str]
"""What was looked at → its SHA-256."""


# ------------------------------------------------------------------------------------------------ one case, here


def _steady(value: Any) -> Any:
    """JSON without what differs from run to run."""
    if isinstance(value, dict):
        return {key: _steady(part) for key, part in value.items() if key not in VOLATILE}
    return [_steady(part) for part in value] if isinstance(value, list) else value


def _sha(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(_steady(value), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _parameters(checkpoint: Path, prefix: str) -> str:
    """All tensors of the models in a safetensors file: names, types, shapes and bits."""
    import torch
    from safetensors.torch import load_file

    whole = hashlib.sha256()
    for name, value in sorted(load_file(checkpoint).items()):
        if name.startswith(prefix):
            whole.update(f"{name.removeprefix(prefix)} {value.dtype} {tuple(value.shape)}\n".encode())
            whole.update(value.contiguous().flatten().view(dtype=torch.uint8).numpy().tobytes())
    return whole.hexdigest()


def bits(directory: Path) -> Bits:
    """The hashes of everything that a case has left below its directory."""
    found: Bits = {}
    for path in sorted(directory.rglob("*")):
        name = _HASHED.sub("", str(path.relative_to(directory)))
        if path.name == "events.jsonl":
            found[name] = _sha([json.loads(line) for line in path.read_text().splitlines()])
        elif path.name in ("result.json", "summary.json", "sweep.json", "predictions.json"):
            found[name] = _sha(json.loads(path.read_text()))
        elif path.suffix == ".safetensors" and path.parent.name == "export":
            found[name] = _parameters(path, "")
        elif path.name == "said.txt":
            found[name] = _sha(path.read_text())
    for folder in sorted(directory.rglob("checkpoint")):
        newest = max(folder.glob("*.safetensors"))
        name = _HASHED.sub("", str(folder.parent.relative_to(directory) / "parameters"))
        found[name] = _parameters(newest, "run.models.")
    return found


@contextlib.contextmanager
def _stopped_after(checkpoints: int | None):
    """Send this process SIGTERM when it has written so many checkpoints."""
    if checkpoints is None:
        yield
        return
    replace, left = os.replace, [checkpoints]

    def counted(source: Any, target: Any, **options: Any) -> None:
        replace(source, target, **options)
        if Path(target).parent.name == "checkpoint" and str(target).endswith(".json"):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    os.replace = counted
    try:
        yield
    finally:
        os.replace = replace
    assert left[0] <= 0, "the run ended before it was asked to stop"


def _command(words: list[str]) -> tuple[int, str]:
    """Exit code and standard output of the command line in this process."""
    sys.argv, said = ["hypermnesia", *words], io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            runpy.run_module("hypermnesia", run_name="__main__")
    except SystemExit as ended:
        return int(ended.code or 0), said.getvalue()
    return 0, said.getvalue()


def _images(folder: Path) -> None:
    """Two classes of 8 × 8 images: rings and bars, with noise."""
    import numpy as np
    from PIL import Image

    rng, grid = np.random.default_rng(0), np.indices((8, 8)) - 3.5
    patterns = {"ring": abs(np.hypot(*grid) - 2.5) < 1, "bar": abs(grid[0]) < 1}
    for name, pattern in patterns.items():
        (folder / name).mkdir(parents=True)
        for i in range(12):
            value = (pattern * 180 + rng.integers(0, 60, (8, 8))).astype(np.uint8)
            Image.fromarray(value).save(folder / name / f"{i}.png")


def prove(case: Case, source: str) -> Bits:
    """Run one case with the package of `source` and hash what it leaves."""
    os.environ |= {
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "120",
        "HYPERMNESIA_CACHE": tempfile.gettempdir() + "/proof-cache",
    }
    os.environ["PYTHONPATH"] = source
    sys.path.insert(0, source)
    with tempfile.TemporaryDirectory(prefix="proof-") as made:
        directory = Path(made) / "case"
        directory.mkdir()
        data = Path(made) / "data"
        _images(data)
        os.chdir(made)
        for number, command in enumerate(case.commands):
            words = [w.replace("DIR", str(directory)).replace("DATA", str(data)) for w in command]
            stop = case.stop_at if number == 0 else None
            with _stopped_after(stop):
                code, said = _command(words)
            if code not in ((0,) if stop is None else (130, 143)):
                raise RuntimeError(f"{case.name}: exit code {code} of hypermnesia {' '.join(words)}")
            if command[0] == "predict":
                (directory / "said.txt").write_text(said.replace(made, ""))
        found = bits(directory)
        os.chdir("/")
    return found


# ----------------------------------------------------------------------------------------------------- all of them


def machine() -> dict[str, str]:
    """What decides rounding, beside the code."""
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "processor": platform.machine(), "instructions": capability}


def prove_all(cases: list[Case], source: Path, workers: int) -> dict[str, Bits]:
    """Every case's bits with the package below `source`, a process for each core."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        asked = {case.name: pool.submit(prove, case, str(source)) for case in cases}
        return {name: _bits_or_failure(future) for name, future in asked.items()}


def _bits_or_failure(future: Future[Bits]) -> Bits:
    try:
        return future.result()
    except Exception as error:  # one case that fails hides no other
        return {f"failed: {error}": ""}


def differences(expected: dict[str, Bits], found: dict[str, Bits]) -> list[str]:
    """A line for every hash that is another one, missing or new."""
    lines = []
    for name, theirs in found.items():
        ours = expected.get(name, {})
        odd = sorted(key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key))
        lines += [
            f"{name}: {key}" + ("" if key in ours and key in theirs else " (on one side only)") for key in odd
        ]
    return lines


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("names", nargs="*", metavar="CASE")
    asked.add_argument("--record", action="store_true")
    asked.add_argument("--against", metavar="REVISION")
    asked.add_argument("--source", type=Path, default=ROOT / "src")
    asked.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    said = asked.parse_args()
    cases = [case for case in CASES if not said.names or case.name in said.names]
    here = machine()
    if said.against:
        beside = Path(tempfile.mkdtemp(prefix="proof-base-"))
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", str(beside), said.against], check=True, capture_output=True)
        try:
            expected = prove_all(cases, beside / "src", said.workers)
        finally:
            subprocess.run([*git, "remove", "--force", str(beside)], check=True)
            shutil.rmtree(beside, ignore_errors=True)
    elif not said.record:
        written = json.loads(EXPECTED.read_text())
        if written["machine"] != here:
            print(
                f"expected.json was recorded on {written['machine']}, this is {here}, where bits may differ: "
                "make proof AGAINST=REVISION takes them from a commit"
            )
            return 2
        expected = written["cases"]
    found = prove_all(cases, said.source, said.workers)
    if said.record:
        if failed := [f"{name}: {key}" for name, parts in found.items() for key in parts if not parts[key]]:
            print("\n".join(failed))
            return 1
        old = json.loads(EXPECTED.read_text())["cases"] if said.names and EXPECTED.exists() else {}
        EXPECTED.write_text(
            json.dumps({"machine": here, "cases": old | found}, indent=1, sort_keys=True) + "\n"
        )
        print(f"recorded {len(found)} cases")
        return 0
    odd = differences(expected, found)
    print("\n".join(odd))
    print(f"{len(found)} cases, {sum(map(len, found.values()))} hashes, {len(odd)} differing")
    return 1 if odd else 0


if __name__ == "__main__":
    sys.exit(main())
