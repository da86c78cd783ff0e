"""Memory that is not there, and batches too small for a norm, are told as what the user can mend."""

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.training import guards


@pytest.mark.parametrize("size", [10**15, 10**18])
def test_what_torch_says_becomes_an_error_of_the_users(size: int) -> None:
    with pytest.raises(RunFailed, match="this needs more memory than there is .*; smaller networks"):
        with guards.told("this", RunFailed):
            torch.empty(size, 64)


@pytest.mark.parametrize("fault", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory")])
def test_errors_with_a_type_of_their_own(fault: Exception) -> None:
    with pytest.raises(HypermnesiaError, match="this needs more memory"):
        with guards.told("this"):
            raise fault


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="defect"):
        with guards.told("this"):
            raise RuntimeError("defect")


def test_a_batch_of_one_sample_in_a_batch_norm(command, tmp_path, monkeypatch) -> None:
    """33 samples in batches of 32."""
    (tmp_path / "normed_net.py").write_text(
        "from torch import nn\n\n\ndef net(shape, outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.Linear(8, outputs))\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("net=python:normed_net:net", "stream.samples_per_task=33", "train.epochs=1", "train.threads=1")
    done = command("run", "split-digits", "finetune", *words, "--out", "o")
    assert done.code == 3 and "gave a batch norm a single sample" in done.err
    assert "Write train.iterations=… in place of train.epochs" in done.err


def test_a_network_that_fits_nowhere(command, tmp_path) -> None:
    done = command(
        "run", "split-digits", "finetune", "net.hidden=[1000000000000000]", "--out", tmp_path / "o"
    )
    assert done.code == 2 and done.err.count("\n") == 1 and list(tmp_path.iterdir()) == []
    assert done.err.startswith("hypermnesia: this configuration needs more memory than there is")


def test_what_fits_is_built() -> None:
    with guards.told("this"):
        assert build(resolve("split-digits", "finetune", ["net.hidden=[8]"])).stream.num_classes == 10
