"""Asking, within seconds, whether something on the network is there at all."""

import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from hypermnesia.errors import HypermnesiaError

LIMIT = 9.0
"""Seconds in all until the answer is no."""
T = TypeVar("T")


class Unreachable(HypermnesiaError):
    """What a search needs does not answer."""


def reach(host: str, port: int, what: str) -> None:
    """Raise `Unreachable` unless something accepts a TCP connection at `host`:`port` within `LIMIT` seconds."""

    def connect() -> None:
        socket.create_connection((host, port), timeout=LIMIT).close()

    try:
        within(connect, f"{what} at {host}:{port}")  # looking up the name has no time limit of its own
    except OSError as error:
        raise Unreachable(f"{what} at {host}:{port} cannot be reached: {error.strerror or error}") from error


def within(call: Callable[[], T], what: str) -> T:
    """The value of `call()`, or its error; `Unreachable` if it takes longer than `LIMIT` seconds.

    `call` runs in a thread of its own, which is left behind if it does not end.
    """
    values: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            values.append(call())
        except BaseException as error:  # it is raised below, where it belongs
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT)
    if errors:
        raise errors[0]
    if not values:
        raise Unreachable(f"{what} does not answer within {LIMIT:g} seconds")
    return values[0]
