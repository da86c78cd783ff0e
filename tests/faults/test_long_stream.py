"""A thousand tasks in little memory, with three kills on the way."""

import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.test_kills import ENVIRONMENT

TASKS = 1000
KILLED_AT = (250, 500, 750)
CAP = 3 * 2**30
"""Bytes of address space that the process may have; what wants more fails."""
RESIDENT = 600 * 2**20
"""Bytes of memory that it may use."""
FLAT = 160 * 2**20
"""Bytes by which its last quarter may use more than its first."""
WORDS = [
    *("permuted-digits", "hnet", f"stream.tasks={TASKS}", "stream.samples_per_task=40", "net.hidden=[16]"),
    *("generator=chunked", "generator.chunk=300", "generator.hidden=[10]", "generator.embedding=4"),
    *("drift.tasks_per_step=4", "train.iterations=2", "train.batch_size=16", "train.threads=1"),
    *("evaluate.every=end", "evaluate.samples=4", "evaluate.scenarios=[task]"),
]


def resident(pid: int) -> int:
    """Bytes of memory that a process has had at most so far; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(peak[0]) * 1024 if peak else 0


def learn(words: list[str], seed: Path, log: Path, until: int | None) -> int:
    """Run the command line under the cap, kill it after task `until`; returns the peak of its memory in bytes."""
    with log.open("ab") as file:
        command = [sys.executable, "-m", "hypermnesia", *words]
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT)
    resource.prlimit(process.pid, resource.RLIMIT_AS, (CAP, CAP))
    peak = 0
    while process.poll() is None:
        peak = max(peak, resident(process.pid))
        saved = max((path.stem for path in seed.glob("checkpoint/*.json")), default="0-0")
        if until is not None and int(saved.partition("-")[2]) >= until:
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            return peak
        time.sleep(0.1)
    assert until is None and process.returncode == 0, log.read_text()[-2000:]
    return peak


@pytest.mark.slow
def test_a_thousand_tasks(tmp_path: Path, tell: Callable[[str], None]) -> None:
    out, log, started = tmp_path / "o", tmp_path / "log", time.monotonic()
    peaks = []
    for until in (*KILLED_AT, None):
        words = ["resume", str(out)] if peaks else ["run", *WORDS, "--device", "cpu", "--out", str(out)]
        peaks.append(learn(words, out / "seed-0", log, until))
    result = json.loads((out / "result.json").read_bytes())
    [*_, last] = result["scenarios"]["task"]["matrix"]
    assert len(last) == TASKS and None not in last and result["costs"]["steps"] == 2 * TASKS
    events = [json.loads(line) for line in (out / "seed-0" / "events.jsonl").read_text().splitlines()]
    assert [e["task"] for e in events if e["event"] == "task_ended"] == list(range(TASKS))
    told = ", ".join(f"{peak / 2**20:.0f}" for peak in peaks)
    tell(
        f"{TASKS} tasks, 3 kills, {time.monotonic() - started:.0f} s: peak memory of each quarter {told} MiB"
    )
    assert max(peaks) <= RESIDENT and peaks[-1] - peaks[0] <= FLAT
