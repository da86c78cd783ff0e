"""The worker process of the local engine: jobs in on standard input, outcomes out on standard output, a line each."""

import os
import queue
import signal
import sys
import threading
from typing import BinaryIO

from hypermnesia.sweep.work import work


def main() -> None:
    """Work until the input ends or a signal asks to stop."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a run prints must not look like an answer
    jobs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(
        target=_read, args=(os.fdopen(os.dup(sys.stdin.fileno()), "rb"), jobs), daemon=True
    ).start()
    while line := jobs.get():
        answer = work(line.decode())
        try:
            answers.write(answer.encode() + b"\n")
            answers.flush()
        except BrokenPipeError:
            return  # the driver has gone; what was done is on disk


def _read(lines: BinaryIO, jobs: "queue.SimpleQueue[bytes]") -> None:
    for line in lines:
        jobs.put(line)
    jobs.put(b"")
    os.kill(os.getpid(), signal.SIGTERM)  # the driver has gone: a run saves itself, an idle worker ends


if __name__ == "__main__":
    main()
