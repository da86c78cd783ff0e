"""Short runs for the tests of what stands on them."""

import ctypes
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hypermnesia.commands.app import main
from hypermnesia.evaluation.schema import CHECKSUM

SHORT = ["train.iterations=5", "train.threads=1"]
"""Words for a run of a second; more than one thread would wait for the other tests."""
TIMES = ("train_seconds", "steps_per_second", "peak_memory_bytes")


@dataclass(frozen=True)
class Said:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


def said(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """Run the command line with `words` in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    code = ended.value.code
    assert code is None or isinstance(code, int)
    return Said(code or 0, *capsys.readouterr())


def without_times(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what differs from run to run."""
    costs = {key: value for key, value in result["costs"].items() if key not in TIMES}
    search = {key: value for key, value in result.get("search", {}).items() if key != "seconds"}
    return result | {"costs": costs} | ({"search": search} if search else {})


def read(path: Path) -> Any:
    """What a JSON file holds; a result without its checksum, which covers times, too."""
    found = json.loads(path.read_text())
    if isinstance(found, dict):
        found.pop(CHECKSUM, None)
    return found


def files_below(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its path."""
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()
    }


class _Who(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Capabilities(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


_VERSION_3 = 0x20080522
_OVERRIDES = 0b11111
"""CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER and FSETID: what lets root pass by the permissions of files."""


@contextmanager
def without_overrides() -> Iterator[None]:
    """Within the block root is held to the permissions of files like anybody; what is imported meanwhile can be read,
    as a change of the user would not let it where Python lies in root's home."""
    if os.geteuid() != 0:
        yield
        return
    libc, who, had = ctypes.CDLL(None, use_errno=True), _Who(_VERSION_3, 0), (_Capabilities * 2)()

    def call(name: str, capabilities: ctypes.Array[_Capabilities]) -> None:
        if getattr(libc, name)(ctypes.byref(who), capabilities):
            raise OSError(ctypes.get_errno(), name)

    call("capget", had)
    fewer = (_Capabilities * 2).from_buffer_copy(had)
    fewer[0].effective &= ~_OVERRIDES
    call("capset", fewer)
    try:
        yield
    finally:
        call("capset", had)
