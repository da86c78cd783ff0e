"""Signals that ask a run to stop, held back until it has saved itself."""

import contextlib
import signal
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def asked_to_stop() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; a second one kills as usual."""
    asked: list[int] = []
    old: dict[int, Any] = {}

    def note(number: int, frame: Any) -> None:
        asked.append(number)
        signal.signal(number, old[number])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.getsignal(number)
            signal.signal(number, note)
    except ValueError:  # not the main thread: signals go to the program that runs us
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
