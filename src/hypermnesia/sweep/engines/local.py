"""The engine of one machine: worker processes that read jobs and write outcomes as lines of JSON.

A worker that crashes takes its own job with it and no other; the next job gets a fresh one. Workers outlive no
driver: when their input ends they save the run they are at and leave.
"""

import os
import queue
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import WorkerLost

GRACE = 30.0
"""Seconds that a worker gets to save its run when the engine closes."""


class Local:
    """`workers` processes on this machine, each with `threads` CPU threads; with `gpus`, worker i sees GPU i % gpus.

    By default one worker per GPU, or else per processor, and as many threads as that leaves to each.
    """

    name = "local"
    queues = False

    def __init__(self, workers: int | None = None, threads: int | None = None, gpus: int = 0) -> None:
        cores = len(os.sched_getaffinity(0))
        self.workers = workers if workers is not None else gpus or cores
        self.threads: int | None = threads if threads is not None else max(1, cores // max(1, self.workers))
        for name, value in (("workers", self.workers), ("threads", self.threads)):
            if value < 1:
                raise HypermnesiaError(f"{name}={value} must be at least 1")
        self._gpus = gpus
        self._workers: list[_Worker] = []
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None

    def check(self) -> None:
        return  # the processes are this machine's own

    def open(self, directory: Path) -> None:
        logs = directory / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        for slot in range(self.workers):
            gpu = slot % self._gpus if self._gpus else None
            self._workers.append(_Worker(logs / f"worker-{slot}.log", self.threads or 1, gpu))
            self._idle.put(self._workers[-1])
        self._pool = ThreadPoolExecutor(self.workers, thread_name_prefix="sweep")

    def submit(self, jobs: Sequence[str]) -> list[Future[str]]:
        assert self._pool is not None, "open the engine first"
        return [self._pool.submit(self._run, job) for job in jobs]

    def close(self) -> None:
        for worker in self._workers:
            worker.ask_to_stop()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.close()
        self._workers, self._pool, self._idle = [], None, queue.SimpleQueue()

    def _run(self, job: str) -> str:
        worker = self._idle.get()
        try:
            return worker.run(job)
        finally:
            self._idle.put(worker)


class _Worker:
    """One worker process, started with its first job and again after a crash."""

    def __init__(self, log: Path, threads: int, gpu: int | None) -> None:
        self._log, self._threads, self._gpu = log, threads, gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self, job: str) -> str:
        """The outcome of a job; raises `WorkerLost` if the process ends without one."""
        if self._stopping:
            raise WorkerLost("the engine is closing")
        if self._process is None:
            self._process = self._start()
        process = self._process
        sent, answers = process.stdin, process.stdout
        assert sent is not None and answers is not None
        with suppress(BrokenPipeError):  # then there is no answer either
            sent.write(job.encode() + b"\n")
            sent.flush()
        line = answers.readline()
        if line.endswith(b"\n"):
            return line.decode()
        self._release()
        raise WorkerLost(self._last_words(process.wait()))

    def ask_to_stop(self) -> None:
        """Have it save the run it is at."""
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def close(self) -> None:
        """Wait for the end of the process, for `GRACE` seconds at most."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # an idle worker leaves
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._release()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(self._threads),
            # The worker is to find what the driver finds: this package, and networks of the user's own.
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
        }
        if self._gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = _visible(self._gpu)
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "hypermnesia.sweep.work"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C in the terminal is for the driver, which tells the workers
            )

    def _release(self) -> None:
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout) if process is not None else ():
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _last_words(self, code: int) -> str:
        said = f"the worker process exited with code {code}"
        if code < 0:
            said = f"the worker process was killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            said += " (the system does that when memory runs out)"
        return f"{said}; its output is in {self._log}"


def _visible(gpu: int) -> str:
    """GPU `gpu` of those that this process itself may use, as CUDA_VISIBLE_DEVICES has it."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    return allowed.split(",")[gpu].strip() if allowed else str(gpu)
