"""The engine of a Ray cluster: every job is a Ray task, which Ray runs again elsewhere when its node is lost.

A task that starts again resumes from its checkpoints where the new node sees the sweep's directory, and begins anew
where it does not; then the run's files come back with the answer.
"""

import logging
import os
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.engines.base import Engine
from hypermnesia.sweep.engines.reach import reach, within

JOIN = 30.0
"""Seconds until joining a cluster is given up: Ray itself would go on asking for minutes."""
P = ParamSpec("P")
R = TypeVar("R")


class Ray(Engine):
    """Tasks on the cluster at `address` (`HOST:PORT`, `ray://HOST:PORT`, `auto`), or on one started here for the sweep.

    A job asks for `cpus` and `gpus`, fractions of one allowed; `workers` of them run at a time, by default as many as
    the cluster has room for. Nodes need this version of the package installed.
    """

    name = "ray"

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
        self._tasks: dict[Future[Any], Any] = {}

    def check(self) -> None:
        if _ray().is_initialized():
            raise HypermnesiaError("this process is already connected to Ray; call ray.shutdown() first")
        if self.address is not None and self.address != "auto":
            reach(*_host_and_port(self.address), "the Ray cluster")

    def open(self, directory: Path) -> None:
        ray = _ray()
        self._connect(ray)
        has = ray.cluster_resources()
        room = _room(has, self.cpus, self.gpus)
        if room == 0:
            ray.shutdown()
            listed = ", ".join(f"{name} {has.get(name, 0):g}" for name in ("CPU", "GPU"))
            raise HypermnesiaError(
                f"ray: a job asks for {self.cpus:g} CPU and {self.gpus:g} GPU, and the whole cluster has {listed}"
            )
        self.workers = self._asked or room

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        ray = _ray()
        options = {"num_cpus": self.cpus, "num_gpus": self.gpus, "max_retries": self.retries}
        try:
            task = ray.remote(fn).options(name="hypermnesia trial", **options).remote(*args, **kwargs)
        except (ConnectionError, ray.exceptions.RayError) as error:
            raise HypermnesiaError(f"ray: the cluster takes no more tasks: {error}") from error
        future = task.future()
        self._tasks[future] = task
        future.add_done_callback(lambda done: self._tasks.pop(done, None))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = True) -> None:
        """End all tasks; their checkpoints are on disk."""
        ray = _ray()
        for task in list(self._tasks.values()):
            ray.cancel(task, force=True)
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
            within(
                lambda: ray.init(address=self.address, **quiet), f"the Ray cluster at {self.address}", JOIN
            )
        except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
            raise HypermnesiaError(f"ray: cannot connect to {self.address}: {error}") from error


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
