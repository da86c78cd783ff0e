"""The engine of one machine: worker processes, each a loky executor of its own.

So a worker that crashes takes its own job with it and no other, and the next job gets a fresh one; and each has an environment
of its own, which decides the GPU that it sees. Workers outlive no driver: they save the run they are at and leave.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import Engine, WorkerLost

GRACE = 30.0
"""Seconds that a worker gets to save its run when the engine closes, or its driver has gone."""
POLL = 0.5
"""Seconds between two looks of a worker at its driver."""
P = ParamSpec("P")
R = TypeVar("R")


class Local(Engine):
    """`workers` processes on this machine, each with `threads` CPU threads; with `gpus`, worker i sees GPU i % gpus.

    By default one worker per GPU, or else per processor, and as many threads as that leaves to each.
    """

    name = "local"

    def __init__(self, workers: int | None = None, threads: int | None = None, gpus: int = 0) -> None:
        cores = _processors()
        self.workers = workers if workers is not None else gpus or cores
        self.threads: int | None = threads if threads is not None else max(1, cores // max(1, self.workers))
        check_count("workers", self.workers)
        check_count("threads", self.threads)
        self._gpus = gpus
        self._workers: list[_Worker] = []

    def open(self, directory: Path) -> None:
        logs = directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for slot in range(self.workers):
            # A module of the current directory must not take the place of one that Python starts with.
            environment = {"OMP_NUM_THREADS": str(self.threads), "PYTHONSAFEPATH": "1"}
            if self._gpus:
                environment["CUDA_VISIBLE_DEVICES"] = _visible(slot % self._gpus)
            self._workers.append(_Worker(logs / f"worker-{slot}.log", environment))

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return min(self._workers, key=lambda worker: len(worker.jobs)).submit(fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Have workers save the runs they are at, for `GRACE` seconds at most; jobs that wait are given up."""
        for worker in self._workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + GRACE
        for worker in self._workers:
            worker.close(deadline)
        self._workers = []


class _Worker:
    """One worker process, started with its first job and again after a crash."""

    def __init__(self, log: Path, environment: dict[str, str]) -> None:
        self._log, self._environment = log, environment
        self._pool: Any = None
        self._process: Any = None
        self.jobs: list[Future[Any]] = []
        """What it is at, and what waits for it."""

    def submit(self, fn: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[R]:
        """What `fn` returns there; the future raises `WorkerLost` if the process ends without it."""
        try:
            self._pool = self._pool or self._start()
            answer = self._pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:  # it has died since its last job
            self._pool = self._start()
            answer = self._pool.submit(fn, *args, **kwargs)
        # Loky has no public way from an executor to its processes.
        process = self._process = next(iter([*self._pool._processes.values()]), None)
        told: Future[R] = Future()
        told.set_running_or_notify_cancel()
        self.jobs.append(told)

        def tell(answer: "Future[R]") -> None:
            self.jobs.remove(told)
            error = answer.exception()
            if error is None:
                told.set_result(answer.result())
            elif isinstance(error, BrokenProcessPool):
                told.set_exception(WorkerLost(f"{_last_words(process)}; its output is in {self._log}"))
            else:
                told.set_exception(error)

        answer.add_done_callback(tell)
        return told

    def ask_to_stop(self) -> None:
        """Have it save the run it is at."""
        if self.jobs and self._process is not None:
            self._process.terminate()

    def close(self, deadline: float) -> None:
        """Wait for the end of what it is at until `deadline` (of `time.monotonic`), and end the process."""
        wait(self.jobs[:1], max(0.0, deadline - time.monotonic()))
        if self._pool is not None:
            self._pool.shutdown(wait=True, kill_workers=True)

    def _start(self) -> Any:
        from joblib.externals import loky

        return loky.ProcessPoolExecutor(
            1, initializer=_settle, initargs=(str(self._log), os.getpid()), env=self._environment
        )


def _last_words(process: Any) -> str:
    if process is None:
        return "the worker process died as soon as it started"
    process.join(GRACE)
    code = process.exitcode
    if code is None or code >= 0:
        return f"the worker process exited with code {code}"
    memory = " (the system does that when memory runs out)" if code == -signal.SIGKILL else ""
    return f"the worker process was killed by {signal.Signals(-code).name}{memory}"


def _settle(log: str, driver: int) -> None:
    """Make a worker of this fresh process: its output goes to `log`, and it leaves with the process `driver`."""
    os.setsid()  # Ctrl-C in the terminal is for the driver, which tells the workers
    with open(log, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    threading.Thread(target=_leave_with, args=(driver,), daemon=True).start()


def _leave_with(driver: int) -> None:
    while os.getppid() == driver:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)  # a run saves itself, an idle worker ends
    time.sleep(GRACE)
    os._exit(1)  # saved: nobody gives it another job


def _processors() -> int:
    """Those that this process may use; where the system does not say (macOS), all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _visible(gpu: int) -> str:
    """GPU `gpu` of those that this process itself may use, as CUDA_VISIBLE_DEVICES has it."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is None:
        return str(gpu)
    allowed = [one.strip() for one in said.split(",") if one.strip()]
    if gpu >= len(allowed):
        raise HypermnesiaError(
            f"gpus={gpu + 1} or more, and CUDA_VISIBLE_DEVICES={said} leaves {len(allowed)}: ask for fewer"
        )
    return allowed[gpu]
