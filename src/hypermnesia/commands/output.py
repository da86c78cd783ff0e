"""What the commands print, wherever it goes: to a device that is full, in an encoding that knows few signs, or nowhere.

Training goes on whatever becomes of its output: that is told once, and by the exit code.
"""

import codecs
import contextlib
import errno
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

EXIT = 2
"""The exit code of a command that did its work and could not say what came of it."""
_PLAIN = {
    **dict.fromkeys("·•", "*"),
    **dict.fromkeys("–—−", "-"),
    **dict.fromkeys("‘’", "'"),
    **dict.fromkeys("“”", '"'),
    **{"…": "...", "×": "x", "±": "+-", "→": "->", "≥": ">=", "≤": "<=", "½": "1/2", "∞": "inf"},
}
"""What stands for the signs that we print where an encoding has none of them."""
_SCRIPTS = {"<super>": "^", "<sub>": ""}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Signs that an encoding lacks, written with those that it has; names as Python escapes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    if sign in _PLAIN:
        return _PLAIN[sign]
    kind, _, code = unicodedata.decomposition(sign).partition(" ")
    if kind in _SCRIPTS and " " not in code:
        return _SCRIPTS[kind] + _plain(chr(int(code, 16)))
    alphabet, case, _, *name = [*unicodedata.name(sign, "").split(), "", "", ""]
    if alphabet == "GREEK" and name[0]:
        letter = name[0].replace("LAMDA", "LAMBDA")
        return letter.capitalize() if case == "CAPITAL" else letter.lower()
    return sign.encode("ascii", "backslashreplace").decode()


codecs.register_error("hypermnesia", _plainly)


class Output:
    """A stream of text on which writing never fails; only a pipe whose reader has gone ends who writes to it."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self.fault: OSError | None = None
        """What the system said when it took no more; from then on all that is written is lost."""
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="hypermnesia")  # pyright: ignore[reportAttributeAccessIssue]

    def write(self, text: str) -> int:
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._kept():
            self._stream.flush()

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with contextlib.suppress(OSError, ValueError):  # ValueError: closed, or no file
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())  # what its buffer holds has to go somewhere
                os.close(nowhere)
            if error.errno == errno.EPIPE:
                raise
            if self.fault is None:
                self.fault = error
                print(
                    f"hypermnesia: {self._name}: {error.strerror or error}; what follows is lost",
                    file=sys.stderr,
                )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Within the block standard output and error are such streams. Exit code 0 becomes `EXIT` where output was lost."""
    before = sys.stdin, sys.stdout, sys.stderr
    with contextlib.ExitStack() as stack:
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:  # closed: the next file would get its number, and be printed into
                nowhere = open(os.devnull, "r" if name == "stdin" else "w")
                setattr(sys, name, stack.enter_context(nowhere))
        sys.stdout = out = Output(sys.stdout, "standard output")  # pyright: ignore[reportAttributeAccessIssue]
        sys.stderr = err = Output(sys.stderr, "standard error")  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        except SystemExit as ended:
            for stream in (out, err):
                with contextlib.suppress(BrokenPipeError):
                    stream.flush()
            if out.fault is not None and not ended.code:
                raise SystemExit(EXIT) from out.fault
            raise
        finally:
            sys.stdin, sys.stdout, sys.stderr = before
