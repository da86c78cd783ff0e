"""Ctrl-C, before a run or a search minds it."""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def heeded() -> Iterator[None]:
    """Within the block Ctrl-C ends the process also while it imports.

    There a `KeyboardInterrupt` may be lost: in a callback of Python's import locks, or in an `except` of what is imported.
    Nothing has begun then that would have to be ended well.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if _importing(frame):
            if sys.stdout.isatty():
                os.write(sys.stdout.fileno(), b"\x1b[?25h")  # the cursor, which a moving line hides
            os._exit(128 + number)
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # ignored, or minded by the program that runs us
        return
    try:
        signal.signal(signal.SIGINT, end)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False
