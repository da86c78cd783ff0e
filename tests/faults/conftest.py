"""Places for runs that are mistreated, and an account of what was counted at the end of the tests' output."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

_COUNTED = "counted"


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """`tell("3 kills: 0 differing results")` puts a line into the account."""
    return lambda line: request.node.user_properties.append((_COUNTED, line))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    done = [report for reports in terminalreporter.stats.values() for report in reports]
    told = [report.user_properties for report in done if getattr(report, "when", "") == "call"]
    counts = [line for properties in told for key, line in properties if key == _COUNTED]
    if counts:
        terminalreporter.section("faults")
        for line in counts:
            terminalreporter.write_line(line)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory if there is such a place: processes are killed here, not computers, and a hundred syncs take time."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    found = Path(tempfile.mkdtemp(prefix="hypermnesia-faults-", dir=memory))
    yield found
    shutil.rmtree(found)


@contextmanager
def _mounted(directory: Path, size: int) -> Iterator[None]:
    directory.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)]
    try:
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system of limited size can be mounted here")
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
def mounted() -> Callable[[Path, int], AbstractContextManager[None]]:
    """`with mounted(directory, size)`: a file system of so many bytes there; skips where none can be mounted."""
    return _mounted
