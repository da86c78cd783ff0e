"""The engine of a SLURM cluster: jobs become arrays of batch jobs, through submitit.

The sweep's directory must lie on a disk that all nodes share. A job that SLURM interrupts or puts back into the queue
goes on from its checkpoints.
"""

import shutil
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import WorkerLost
from hypermnesia.sweep.work import work

POLL = 2.0
"""Seconds between two looks at the jobs."""


class Slurm:
    """Job arrays of which `workers` run at a time, with `threads` CPUs and `gpus` GPUs each.

    `parameters`: what else sbatch should know, under submitit's names (`slurm_partition`, `timeout_min`, `mem_gb`).
    `cluster`: "slurm", or "local" for plain processes on this machine that take the same way.
    """

    name = "slurm"
    queues = True

    def __init__(
        self,
        workers: int = 32,
        threads: int = 1,
        gpus: int = 0,
        parameters: Mapping[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        for name, value, least in (("workers", workers, 1), ("threads", threads, 1), ("gpus", gpus, 0)):
            if value < least:
                raise HypermnesiaError(f"slurm: {name}={value} must be at least {least}")
        self.workers = workers
        self.threads: int | None = threads
        self._gpus, self._parameters, self._cluster = gpus, dict(parameters or {}), cluster
        self._executor: Any = None
        self._waiting: dict[Future[str], Any] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._poller: threading.Thread | None = None

    def check(self) -> None:
        _submitit()
        if self._cluster == "slurm" and shutil.which("sbatch") is None:
            raise HypermnesiaError("--engine slurm: there is no SLURM here (no sbatch on the PATH)")

    def open(self, directory: Path) -> None:
        self._executor = _submitit().AutoExecutor(folder=directory / "logs" / "%j", cluster=self._cluster)
        self._executor.update_parameters(
            name="hypermnesia",
            cpus_per_task=self.threads,
            gpus_per_node=self._gpus,
            slurm_array_parallelism=self.workers,
            **self._parameters,
        )
        self._stop.clear()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._poller.start()

    def submit(self, jobs: Sequence[str]) -> list[Future[str]]:
        submitted = self._executor.map_array(_Work(), list(jobs))
        futures: list[Future[str]] = [Future() for _ in submitted]
        with self._lock:
            self._waiting |= dict(zip(futures, submitted, strict=True))
        return futures

    def close(self) -> None:
        self._stop.set()
        if self._poller is not None:
            self._poller.join()
        for job in self._waiting.values():
            job.cancel(check=False)
        self._waiting.clear()

    def _poll(self) -> None:
        while not self._stop.wait(POLL):
            with self._lock:
                waiting = list(self._waiting.items())
            for future, job in waiting:
                if job.done():
                    _answer(job, future)
                    with self._lock:
                        del self._waiting[future]


class _Work:
    """What submitit calls, and what it asks when SLURM is about to stop the job."""

    def __call__(self, job: str) -> str:
        return work(job)

    def checkpoint(self, job: str) -> Any:
        """Put the same job back into the queue: it goes on from its run's last checkpoint."""
        return _submitit().helpers.DelayedSubmission(self, job)


def _answer(job: Any, future: "Future[str]") -> None:
    error = job.exception()
    if error is None:
        future.set_result(job.result())
    else:
        future.set_exception(WorkerLost(f"slurm job {job.job_id}: {str(error).strip()[-500:]}"))


def _submitit() -> ModuleType:
    try:
        import submitit
    except ImportError as error:
        raise HypermnesiaError("--engine slurm needs submitit: pip install 'hypermnesia[slurm]'") from error
    return submitit
