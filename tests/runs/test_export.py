"""A task's network by itself."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from running import SHORT
from safetensors.torch import load_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.nets import NETS
from hypermnesia.runs import export as exporting
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.export import export_task

APPROACHES = ["hnet", "er", "hypermask", "separate", "joint"]


@pytest.fixture(scope="module")
def seed_of(tmp_path_factory):
    """seed_of(approach, …) is DIR/seed-0 of a finished run; each is trained once."""
    made: dict[tuple[str, ...], Path] = {}

    def get(*words: str) -> Path:
        if words not in made:
            made[words] = tmp_path_factory.mktemp("export") / "seed-0"
            execute_seeds(resolve("split-digits", words[0], [*SHORT, *words[1:]]), [0], made[words].parent)
        return made[words]

    return get


@pytest.mark.parametrize("approach", APPROACHES)
def test_the_program_answers_like_the_learner(seed_of, tmp_path, approach):
    files = export_task(seed_of(approach), 2, tmp_path)
    program = torch.export.load(files.program).module()
    run = restored(seed_of(approach))
    run.learner.model.eval()
    task = 0 if approach == "joint" else 2
    for batch in (1, 5):
        x = torch.rand(batch, 1, 8, 8)
        with torch.no_grad():
            assert torch.equal(program(x), run.learner.model(x, task))


def test_the_weights_load_into_the_plain_network(seed_of, tmp_path):
    files = export_task(seed_of("hnet"), 2, tmp_path)
    about = json.loads(files.description.read_text())
    net = NETS["mlp"](hidden=(100, 100)).build((1, 8, 8), len(about["outputs"]))
    net.load_state_dict(load_file(files.weights))
    run = restored(seed_of("hnet"))
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(net(x), run.learner.model(x, 2))


def test_the_description_says_what_a_user_needs(seed_of, tmp_path):
    about = json.loads(export_task(seed_of("hnet"), 2, tmp_path).description.read_text())
    assert about == {
        "task": 3,
        "name": "4, 5",
        "outputs": ["4", "5"],
        "classes_of_the_task": ["4", "5"],
        "input": {
            "shape": [1, 8, 8],
            "dtype": "float32",
            "preprocessing": "(pixel / 255 − mean) / std, per channel",
            "mean": [0.0],
            "std": [1.0],
        },
    }
    shared = json.loads(export_task(seed_of("er"), 2, tmp_path).description.read_text())
    assert shared["outputs"] == [str(digit) for digit in range(10)]
    assert shared["classes_of_the_task"] == ["4", "5"]


def test_sliced_heads_give_their_slice(seed_of, tmp_path):
    files = export_task(seed_of("hnet", "weights.head=sliced"), 1, tmp_path)
    assert torch.export.load(files.program).module()(torch.rand(2, 1, 8, 8)).shape == (2, 2)
    assert load_file(files.weights)["head.weight"].shape[0] == 10


def test_batch_norm_statistics_go_along(seed_of, tmp_path):
    words = ("phn", "net=resnet18", "net.width=2", "stream.tasks=2", "cut=layer4")
    files = export_task(seed_of(*words), 1, tmp_path)
    run = restored(seed_of(*words))
    run.learner.model.eval()
    x = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        expected = run.learner.model(x, 1)
    torch.testing.assert_close(torch.export.load(files.program).module()(x), expected)
    assert any("running_mean" in name for name in load_file(files.weights))


def test_files_lie_beside_the_run_by_default(seed_of, tmp_path):
    shutil.copytree(seed_of("er"), tmp_path / "seed-0")
    files = export_task(tmp_path / "seed-0", 0)
    assert files.weights == tmp_path / "seed-0" / "export" / "task-1.safetensors"
    assert {p.name for p in files.weights.parent.iterdir()} == {
        "task-1.safetensors",
        "task-1.pt2",
        "task-1.json",
    }


@pytest.mark.parametrize("task", [5, -1])
def test_a_task_that_was_not_learned_is_told(seed_of, tmp_path, task):
    with pytest.raises(HypermnesiaError, match=f"there is no task {task + 1}: .* has learned task 1 to 5"):
        export_task(seed_of("hnet"), task, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_method_that_answers_by_itself_is_told(seed_of, tmp_path):
    with pytest.raises(HypermnesiaError, match="answers with scores of its own"):
        export_task(seed_of("icarl"), 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_program_that_differs_is_never_written(seed_of, tmp_path, monkeypatch):
    whole = exporting.task_network

    def wrong(model, task):
        network, state = whole(model, task)
        next(network.parameters()).add_(1)
        return network, state

    monkeypatch.setattr(exporting, "task_network", wrong)
    with pytest.raises(HypermnesiaError, match="the exported program differs from the learner by up to"):
        export_task(seed_of("hnet"), 0, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_network_that_cannot_be_traced_is_told():
    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(HypermnesiaError, match="torch.export cannot trace this network"):
        exporting.traced(Odd(), torch.ones(4, 3))


def test_a_place_that_cannot_be_written_to_is_told(seed_of, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HypermnesiaError, match="cannot write to .*file/out: Not a directory"):
        export_task(seed_of("er"), 0, tmp_path / "file" / "out")


@pytest.mark.parametrize("approach", ["ridge", "ncm", "fecam", "ranpac"])
def test_a_classifier_in_closed_form_is_exported_whole(tmp_path, approach):
    width = ["method.width=30"] if approach in ("fecam", "ranpac") else []
    words = ["stream.tasks=2", "train.threads=1", *width]
    execute_seeds(resolve("split-digits", approach, words), [0], tmp_path / "run")
    files = export_task(tmp_path / "run/seed-0", 0)
    learner = restored(tmp_path / "run/seed-0").learner
    raw = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = torch.export.load(files.program).module()(learner.preprocess(raw, None))
    expected = learner.answer(raw)
    seen = expected.scores.isfinite()
    torch.testing.assert_close(found[seen], expected.scores[seen])
    assert json.loads(files.description.read_text())["outputs"] == list("0123")
    assert load_file(files.weights)["bias"].shape == (4,)
