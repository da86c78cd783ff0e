"""Asking, within seconds, whether something on the network is there at all."""

import socket
import threading
from collections.abc import Callable
from typing import TypeVar

from hypermnesia.core.errors import HypermnesiaError

CONNECT, ANSWER = 3.0, 6.5
"""Seconds until a connection, and then a service behind it, is given up: less than ten in all."""
T = TypeVar("T")


class Unreachable(HypermnesiaError):
    """What a search needs does not answer."""


def reach(host: str, port: int, what: str) -> None:
    """Raise `Unreachable` unless something accepts a TCP connection at `host`:`port`."""
    where = f"{what} at {host}:{port}"
    try:
        # Looking up the name has no time limit of its own.
        within(lambda: socket.create_connection((host, port), timeout=CONNECT).close(), where)
    except TimeoutError as error:
        raise Unreachable(f"{where} does not answer within {CONNECT:g} seconds") from error
    except OSError as error:
        raise Unreachable(f"{where} cannot be reached: {error.strerror or error}") from error


def within(call: Callable[[], T], what: str, seconds: float = ANSWER) -> T:
    """The value of `call()`, or its error; `Unreachable` if it takes longer than `seconds`.

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
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not values:
        raise Unreachable(f"{what} does not answer within {seconds:g} seconds")
    return values[0]
