"""A run that is to be the same anywhere: whatever the processor offers, however many threads there are, and in mid-flight."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences
from running import read

from hypermnesia.commands.app import main
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.training.anywhere import PINNED
from hypermnesia.training.options import TrainOptions

SOURCE = str(Path(__file__).parents[2] / "src")
ANYWHERE = "train.reproducible=anywhere"
NETS = {"mlp": (), "lenet": ("net=lenet", "stream.size=16")}
MACHINES = (
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"OMP_NUM_THREADS": "4", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "AVX2"},
)
"""What stands in for other machines, and for users with habits of their own."""


def begin(words: list[str], machine: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "hypermnesia", *words],
        env=os.environ | {"PYTHONPATH": SOURCE} | machine,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> None:
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("approach", ["hnet", "derpp"])
def test_the_same_bits_on_every_machine(approach: str, net: str, directory: Path) -> None:
    row = words_of(BY_NAME[approach], ANYWHERE, *NETS[net])
    words = ["run", "split-digits", approach, *(w for w in row if "threads" not in w), "--device", "cpu"]
    words = [w for w in words if net == "mlp" or "net.hidden" not in w]
    outs = [directory / f"machine-{number}" for number in range(len(MACHINES))]
    for process in [begin([*words, "--out", str(out)], m) for out, m in zip(outs, MACHINES, strict=True)]:
        ended(process)
    assert [text for out in outs[1:] for text in differences(outs[0], out)] == []
    assert read(outs[1] / "seed-0" / "environment.json")["threads"] == 1


@pytest.mark.slow
def test_a_run_that_moves_between_machines(directory: Path) -> None:
    row = words_of(BY_NAME["derpp"], ANYWHERE, "train.iterations=200", "checkpoint.every=0.01")
    words = ["run", "split-digits", "derpp", *(w for w in row if "threads" not in w), "--device", "cpu"]
    ended(begin([*words, "--out", str(directory / "stays")], MACHINES[0]))
    moved = directory / "moves"
    process = begin([*words, "--out", str(moved)], MACHINES[0])
    for machine in MACHINES[1:]:
        before = len(list(moved.glob("seed-0/checkpoint/*")))
        while process.poll() is None and len(list(moved.glob("seed-0/checkpoint/*"))) <= min(before, 1):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        process = begin(["resume", str(moved)], machine)
    ended(process)
    assert differences(directory / "stays", moved) == []


def test_what_has_to_be_set_before_torch_is_loaded_is_told_to_whoever_has_the_process(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command line itself begins anew with it."""
    assert any(os.environ.get(name) != value for name, value in PINNED.items())
    with pytest.raises(SystemExit):
        main(["run", "split-digits", "finetune", ANYWHERE, "--out", "never"])
    assert capsys.readouterr().err == (
        "hypermnesia: train.reproducible=anywhere: set ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 "
        f"MKL_CBWR={PINNED['MKL_CBWR']} before torch is loaded\n"
    )


def test_a_processor_that_cannot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PINNED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: "DEFAULT")
    with pytest.raises(HypermnesiaError, match="anywhere holds on processors with AVX2, not on DEFAULT"):
        build(resolve("split-digits", "finetune", [ANYWHERE]), 0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"threads": 2}, "train.reproducible=anywhere and train.threads=2 do not go together"),
        ({"compile": True}, "train.reproducible=anywhere and train.compile=True do not go together"),
        ({"precision": "bf16"}, "train.reproducible=anywhere computes in float32 alone"),
        ({"reproducible": "there"}, "unknown train.reproducible 'there'"),
    ],
)
def test_what_does_not_go_with_it(given: dict[str, object], expected: str) -> None:
    with pytest.raises(HypermnesiaError, match=expected):
        TrainOptions(iterations=1, **{"reproducible": "anywhere", **given})  # pyright: ignore[reportArgumentType]


def test_it_is_no_other_configuration() -> None:
    """As with threads: a finished run is recognised."""
    plain, pinned = (resolve("split-digits", "finetune", words) for words in ([], [ANYWHERE]))
    assert plain.sha256 == pinned.sha256


def test_what_it_has_learned_is_read_without_any_of_it(directory: Path) -> None:
    """Only training has to be the same: a finished run predicts on other devices, too."""
    cfg = resolve("split-digits", "finetune", words_of(BY_NAME["finetune"]))
    execute_seeds(cfg, [0], directory)
    path = directory / "seed-0" / "config.toml"
    text = path.read_text()
    assert 'reproducible = "here"' in text
    path.write_text(text.replace('reproducible = "here"', 'reproducible = "anywhere"'))
    assert restored(directory / "seed-0").train.reproducible == "anywhere"
