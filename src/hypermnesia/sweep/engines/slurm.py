"""The engine of a SLURM cluster: jobs become arrays of batch jobs, through submitit.

The sweep's directory must lie on a disk that all nodes share. A job that SLURM interrupts or puts back into the queue
goes on from its checkpoints.
"""

import contextlib
import io
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from hypermnesia.core.checks import check_count
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.sweep.engines.base import Engine, WorkerLost
from hypermnesia.sweep.engines.reach import ANSWER

POLL = 2.0
"""Seconds between two looks at the jobs."""
_NEEDED = {"sbatch": "takes jobs", "srun": "starts them", "sacct": "tells how they ended"}
_SET_HERE = ("name", "cpus_per_task", "gpus_per_node", "slurm_array_parallelism")
"""Options of submitit that follow from the engine's own."""
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


class Slurm(Engine):
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
            check_count(f"slurm: {name}", value, least)
        self.workers = workers
        self.threads: int | None = threads
        self._gpus, self._parameters, self._cluster = gpus, dict(parameters or {}), cluster
        self._executor: Any = None
        self._waiting: dict[Future[Any], Any] = {}
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._poller: threading.Thread | None = None

    def check(self) -> None:
        _submitit()
        if self._cluster == "slurm":
            _check_commands()
        self._made(Path(tempfile.gettempdir()))  # writes nothing there

    def open(self, directory: Path) -> None:
        self._executor = self._made(directory / "logs" / "%j")
        self._stop.clear()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._poller.start()

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        return self.submit_all(lambda _: fn(*args, **kwargs), [None])[0]

    def submit_all(self, fn: Callable[[T], R], tasks: Sequence[T]) -> list[Future[R]]:
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where submitit says the same
                jobs = self._executor.map_array(_Again(fn), list(tasks))
        except RuntimeError as error:  # that of submitit for any failure
            said = " ".join(str(error).split()) or "sbatch failed"
            raise HypermnesiaError(f"slurm: a job could not be submitted: {said[:500]}") from error
        futures: list[Future[R]] = [Future() for _ in jobs]
        with self._lock:
            self._waiting |= dict(zip(futures, jobs, strict=True))
        return futures

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """Cancel all jobs, of which those that run have saved themselves now and then."""
        self._stop.set()
        if self._poller is not None:
            self._poller.join()
        for job in self._waiting.values():
            job.cancel(check=False)
        self._waiting.clear()

    def _made(self, folder: Path) -> Any:
        """submitit's executor with all options; raises `HypermnesiaError` for those that it does not have."""
        import submitit
        from submitit.slurm.slurm import SlurmExecutor

        general = submitit.AutoExecutor._typed_parameters()
        known = [*general, *(f"slurm_{name}" for name in SlurmExecutor._valid_parameters())]
        for key in self._parameters:
            if key not in known:
                raise unknown("slurm option", key, (name for name in known if name not in _SET_HERE))
            if key in _SET_HERE:
                raise HypermnesiaError(f"slurm: {key} follows from --workers, --threads and --gpus")
        own: tuple[Any, ...] = ("hypermnesia", self.threads, self._gpus, self.workers)
        executor = submitit.AutoExecutor(folder=folder, cluster=self._cluster)
        try:
            executor.update_parameters(**dict(zip(_SET_HERE, own, strict=True)), **self._parameters)
        except (AssertionError, TypeError, ValueError) as error:
            raise HypermnesiaError(f"slurm: {str(error).partition(chr(10))[0]}") from error
        return executor

    def _poll(self) -> None:
        while not self._stop.wait(POLL):
            with self._lock:
                waiting = list(self._waiting.items())
            for future, job in waiting:
                if job.done():
                    _answer(job, future)
                    with self._lock:
                        del self._waiting[future]


class _Again:
    """What submitit calls, and what it asks when SLURM is about to stop the job."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self._fn = fn

    def __call__(self, task: Any) -> Any:
        return self._fn(task)

    def checkpoint(self, task: Any) -> Any:
        """Put the same job back into the queue: it goes on from its run's last checkpoint."""
        return _submitit().helpers.DelayedSubmission(self, task)


def _check_commands() -> None:
    missing = [command for command in _NEEDED if shutil.which(command) is None]
    if "sbatch" in missing:
        raise HypermnesiaError("--engine slurm: there is no SLURM here (no sbatch on the PATH)")
    if missing:
        listed = " and ".join(f"{command}, which {_NEEDED[command]}" for command in missing)
        raise HypermnesiaError(f"--engine slurm: the SLURM here lacks {listed} (not on the PATH)")
    try:
        asked = subprocess.run(["sacct", "--noheader"], capture_output=True, timeout=ANSWER, check=False)
    except subprocess.TimeoutExpired as error:
        raise HypermnesiaError(
            f"--engine slurm: sacct does not answer within {ANSWER:g} seconds, so nobody would learn how jobs ended"
        ) from error
    if asked.returncode:
        said = asked.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise HypermnesiaError(
            f"--engine slurm: sacct fails, so nobody would learn how jobs ended: {said or asked.returncode}"
        )


def _answer(job: Any, future: "Future[Any]") -> None:
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
