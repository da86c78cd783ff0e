"""Where output goes does not decide what becomes of a run: a full device, an encoding of few signs, nowhere. And Ctrl-C."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.test_kills import ENVIRONMENT
from running import Said

Command = Callable[..., Said]
RUN = ("run", "split-digits", "finetune", *words_of(BY_NAME["finetune"]), "--out", "o")
EACH = (
    RUN,
    ("show", "o"),
    ("report", "o", "--format", "md"),
    ("list", "runs", "o"),
    ("list", "options", "er"),
)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_encodings_that_lack_our_signs(
    encoding: str, command: Command, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in EACH:
        with io.TextIOWrapper(io.BytesIO(), encoding=encoding) as few, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", few)
            done = command(*words)
            few.seek(0)
            text = few.read()
        assert (done.code, done.err) == (0, "") and len(text) > 100, words
        assert "\\u" not in text and "\\x" not in text, text
    assert (place / "o" / "result.json").exists()


def test_what_stands_for_a_sign() -> None:
    said = "10\u207b\u00b3 \u03b8\u2082 \u03a9 \u03bb \u00bd \u2212 \u0105".encode("ascii", "hypermnesia")
    assert said == b"10^-^3 theta2 Omega lambda 1/2 - \\u0105"


def test_a_name_that_an_encoding_lacks_is_escaped(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.TextIOWrapper(io.BytesIO(), encoding="ascii") as few, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", few)
        command("show", "\u5b66 \u2013 \u00e9")
        few.seek(0)
        assert few.read().startswith("hypermnesia: \\u5b66 - \\xe9 holds no run")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_device(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is whole; that its output is not is told once, and by the exit code."""
    for words in EACH:
        with open("/dev/full", "w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", full)
            done = command(*words)
        told = "hypermnesia: standard output: No space left on device; what follows is lost\n"
        assert (done.code, done.err) == (2, told), words
    assert (place / "o" / "result.json").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_device_for_errors(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", full)
        assert command("show", "nowhere").code == 2


def test_no_output_at_all(command: Command, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        patch.setattr(sys, "stderr", None)
        for words in EACH:
            assert command(*words).code == 0
    assert (place / "o" / "result.json").exists()


def test_a_reader_that_goes_away(place: Path) -> None:
    """As `| head -1`: the exit code is that of the command, and nothing is said."""
    code = "from hypermnesia.commands.app import main; main(['--help'])"
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert done.stderr == b"" and done.returncode in (0, 1)


# ------------------------------------------------------------------------------------------------------------- Ctrl-C

DEAF = """
import sys, time
print("begun", flush=True)
try:
    time.sleep(30)
except BaseException:
    pass
"""
"""A module that swallows what interrupts its import, as some do, and Python's own import locks."""
IMPORTS = """
from hypermnesia.commands.interrupts import heeded
with heeded():
    import deaf
    print("went on", flush=True)
"""
WAITS = """
import time
from hypermnesia.commands.interrupts import heeded
with heeded():
    try:
        print("begun", flush=True)
        time.sleep(30)
    except KeyboardInterrupt:
        print("heard", flush=True)
"""


@pytest.mark.parametrize(("code", "expected", "said"), [(IMPORTS, 130, ""), (WAITS, 0, "heard\n")])
def test_ctrl_c_is_never_swallowed(code: str, expected: int, said: str, place: Path) -> None:
    (place / "deaf.py").write_text(DEAF)
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        env=ENVIRONMENT | {"PYTHONPATH": f"{ENVIRONMENT['PYTHONPATH']}:{place}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdout.readline() == "begun\n"
    started.send_signal(signal.SIGINT)
    rest, errors = started.communicate(timeout=20)
    assert (started.returncode, rest, errors) == (expected, said, "")
