"""The whole classifier as one program says what the learner says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from running import said

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.export import samples
from hypermnesia.runs.export_whole import export_classifier

WORDS = ["train.iterations=20", "train.threads=1", "stream.tasks=3", "evaluate.samples=5"]
RUNS = {
    "hnet": ["hnet"],
    "hnet, fecam": ["hnet", "infer=fecam"],
    "hnet, prototype": ["hnet", "infer=prototype"],
    "hnet, agreement": ["hnet", "infer=agreement"],
    "hnet, calibrated": ["hnet", "infer.calibrate=true"],
    "hypermask": ["hypermask"],
    "phn, batch norm": ["phn", "net=resnet18", "net.width=2", "cut=layer4", "weights.tail_norm=keep"],
    "er": ["er"],
    "joint": ["joint"],
    "icarl": ["icarl"],
    "ncm": ["ncm"],
    "ridge": ["ridge"],
}
ONNX = ("hnet", "hnet, fecam", "er", "ridge")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    def get(run: str) -> Path:
        if run not in found:
            found[run] = tmp_path_factory.mktemp("whole") / "seed-0"
            approach, *words = RUNS[run]
            execute_seeds(hm.resolve("split-digits", approach, [*WORDS, *words]), [0], found[run].parent)
        return found[run]

    found: dict[str, Path] = {}
    return get


@pytest.mark.parametrize("run", RUNS)
def test_the_program_says_what_the_learner_says(made, tmp_path: Path, run: str):
    files = export_classifier(made(run), tmp_path)
    program, learned = torch.export.load(files.program).module(), restored(made(run))
    raw = samples(learned.tested_on)
    for size in (1, 5, len(raw)):
        expected = learned.learner.answer(raw[:size])
        shares, classes, tasks = program(raw[:size])
        torch.testing.assert_close(shares, expected.scores.softmax(1), atol=1e-4, rtol=0)
        assert classes.tolist() == expected.classes.tolist()
        assert tasks.tolist() == ([-1] * size if expected.tasks is None else expected.tasks.tolist())
    about = json.loads(files.description.read_text())
    assert about["classes"] == about["learned"] == [str(digit) for digit in range(6)]
    assert about["input"] == {"shape": [1, 8, 8], "dtype": "uint8", "what": "images"}


@pytest.mark.parametrize("run", ONNX)
def test_onnx_says_the_same(made, tmp_path: Path, run: str):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    files = export_classifier(made(run), tmp_path, onnx=True)
    learned = restored(made(run))
    raw = samples(learned.tested_on)[:7]
    session = runtime.InferenceSession(str(files.onnx))
    shares, classes, _ = session.run(None, {session.get_inputs()[0].name: raw.numpy()})
    expected = learned.learner.answer(raw)
    np.testing.assert_allclose(shares, expected.scores.softmax(1).numpy(), atol=1e-4)
    assert classes.tolist() == expected.classes.tolist()


def test_a_program_that_differs_is_never_written(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from hypermnesia.runs import export_whole

    class Wrong(export_whole.Classifier):
        def forward(self, raw):
            shares, classes, tasks = super().forward(raw)
            return shares / 2, classes, tasks

    monkeypatch.setattr(export_whole, "Classifier", Wrong)
    with pytest.raises(
        HypermnesiaError, match="the exported program differs from the learner by up to 0.[0-9]+ of a"
    ):
        export_classifier(made("er"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command(made, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = said(capsys, "export", made("er"), "--out", tmp_path)
    assert found.code == 0, found.err
    assert found.out.split() == [str(tmp_path / f"classifier.{end}") for end in ("pt2", "json")]
    found = said(capsys, "export", made("er"), "--task", 2, "--out", tmp_path)
    assert found.out.split() == [str(tmp_path / f"task-2.{end}") for end in ("safetensors", "pt2", "json")]


def test_without_the_packages_onnx_says_what_to_install(
    made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from hypermnesia.runs import export

    monkeypatch.setattr(export, "find_spec", lambda name: None)
    with pytest.raises(
        HypermnesiaError, match=r"ONNX files need onnx and onnxscript: pip install 'hypermnesia\[onnx\]'"
    ):
        export_classifier(made("er"), tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()
