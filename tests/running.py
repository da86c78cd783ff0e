"""Short runs for the tests of what stands on them."""

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
    return result | {"costs": {key: value for key, value in result["costs"].items() if key not in TIMES}}


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


NOBODY = 65534


@contextmanager
def somebody() -> Iterator[None]:
    """Within the block root is an ordinary user, who may not do everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
