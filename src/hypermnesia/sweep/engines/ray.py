"""The engine of a Ray cluster: every job is a Ray task, which Ray runs again elsewhere when its node is lost.

A task that starts again resumes from its checkpoints where the new node sees the sweep's directory, and begins anew
where it does not; then the run's files come back with the answer.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import WorkerLost
from hypermnesia.sweep.engines.reach import reach
from hypermnesia.sweep.work import work


class Ray:
    """Tasks on the cluster at `address` (`HOST:PORT`, `ray://HOST:PORT`, `auto`), or on one started here for the sweep.

    A job asks for `cpus` and `gpus`, fractions of one allowed; `workers` of them run at a time, by default as many as
    the cluster has room for. Nodes need this version of the package installed.
    """

    name = "ray"
    queues = False

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        retries: int = 3,
    ) -> None:
        for name, value, least in (("cpus", cpus, 0), ("gpus", gpus, 0), ("retries", retries, 0)):
            if value < least:
                raise HypermnesiaError(f"ray: {name}={value} must be at least {least}")
        if cpus == gpus == 0:
            raise HypermnesiaError("ray: a job needs some of a CPU or GPU; give cpus or gpus above 0")
        if workers is not None and workers < 1:
            raise HypermnesiaError(f"workers={workers} must be at least 1")
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries
        self.workers, self._asked = workers or 1, workers
        self.threads: int | None = max(1, int(cpus))
        self._tasks: dict[Future[str], Any] = {}
        self._remote: Any = None

    def check(self) -> None:
        if _ray().is_initialized():
            raise HypermnesiaError("this process is already connected to Ray; call ray.shutdown() first")
        if self.address is not None and self.address != "auto":
            host, port = _host_and_port(self.address)
            # Ray itself would go on asking for minutes.
            reach(host, port, "the Ray cluster", grpc=os.environ.get("RAY_USE_TLS", "0") == "0")

    def open(self, directory: Path) -> None:
        ray = _ray()
        self._connect(ray)
        room = _room(ray.cluster_resources(), self.cpus, self.gpus)
        if room == 0:
            has = ", ".join(f"{name} {ray.cluster_resources().get(name, 0):g}" for name in ("CPU", "GPU"))
            ray.shutdown()
            raise HypermnesiaError(
                f"ray: a job asks for {self.cpus:g} CPU and {self.gpus:g} GPU, and the whole cluster has {has}"
            )
        self.workers = self._asked or room
        self._remote = ray.remote(work).options(
            num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries, name="hypermnesia trial"
        )

    def submit(self, jobs: Sequence[str]) -> list[Future[str]]:
        futures = []
        for job in jobs:
            task = self._remote.remote(job)
            future: Future[str] = Future()
            future.set_running_or_notify_cancel()
            task.future().add_done_callback(lambda done, future=future: self._answer(done, future))
            self._tasks[future] = task
            futures.append(future)
        return futures

    def close(self) -> None:
        ray = _ray()
        for task in list(self._tasks.values()):
            ray.cancel(task, force=True)  # its checkpoints are on disk
        self._tasks.clear()
        ray.shutdown()

    def _connect(self, ray: ModuleType) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a search tells nobody that it takes place
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self.address is None:
            ray.init(
                num_cpus=self._asked and round(self._asked * self.cpus), include_dashboard=False, **quiet
            )
            return
        try:
            ray.init(address=self.address, **quiet)
        except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
            raise HypermnesiaError(f"ray: cannot connect to {self.address}: {error}") from error

    def _answer(self, done: "Future[str]", future: "Future[str]") -> None:
        self._tasks.pop(future, None)
        error = done.exception()
        if error is None:
            future.set_result(done.result())
        else:
            future.set_exception(WorkerLost(f"ray: {type(error).__name__}: {str(error).strip()}"))


def _ray() -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise HypermnesiaError("--engine ray needs Ray: pip install 'hypermnesia[ray]'") from error
    return ray


def _room(resources: dict[str, float], cpus: float, gpus: float) -> int:
    """How many jobs the cluster has room for."""
    each = [resources.get(name, 0) // share for name, share in (("CPU", cpus), ("GPU", gpus)) if share]
    return int(min(each))


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise HypermnesiaError(f"ray: address {address!r}; expected HOST:PORT, ray://HOST:PORT or auto")
    return host, int(port)
