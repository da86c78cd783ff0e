"""Texts from the words of a file to a network's answer: learned, remembered, exported and predicted."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.export import export_task
from hypermnesia.runs.learn import learn
from hypermnesia.runs.predict import predict

SMALL = ["net.vocabulary=400", "net.width=16", "net.depth=1", "stream.length=12", "train.threads=1"]


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four classes, each with words of its own: PATH/CLASS/*.txt."""
    folder = tmp_path_factory.mktemp("animals")
    says = {"cat": "meow purr", "dog": "bark woof", "owl": "hoot night", "cow": "moo grass"}
    for name, sounds in says.items():
        (folder / name).mkdir()
        for i in range(20):
            (folder / name / f"{i}.txt").write_text(f"Number {i} of them says {sounds}.")
    return folder


def test_docstrings_are_learned_far_above_chance():
    net = ["net.vocabulary=2000", "net.width=16", "net.depth=1", "train.threads=1"]
    words = [*net, "stream.length=32", "stream.tasks=2", "train.iterations=80", "lr=0.003"]
    run = hm.build(hm.resolve("split-docstrings", "er", words))
    for _ in run:
        pass
    memory = run.learner.state.memory
    assert (memory.x.dtype, tuple(memory.x.shape)) == (torch.int64, (200, 32))
    assert int(memory.x.max()) > 255
    assert min(run.records.rows["task"][-1]) > 0.75


@pytest.mark.parametrize(
    ("approach", "words"),
    [
        ("hnet", []),
        ("hnet", ["weights=lora"]),
        ("phn", ["cut=embed"]),
        ("hypermask", ["generator=lowrank"]),
        ("ewc", []),
    ],
)
def test_every_kind_of_weights(approach: str, words: list[str]):
    short = ["train.iterations=2", "stream.tasks=2", "evaluate.samples=10"]
    run = hm.build(hm.resolve("split-docstrings", approach, [*words, *SMALL, *short]))
    for _ in run:
        pass
    assert len(run.records.rows["task"]) == 2


def test_from_files_to_answers(animals: Path, tmp_path: Path):
    """Two tasks of a user's own texts; the exported program agrees with what is predicted."""
    words = [
        *SMALL,
        "net=text-transformer",
        "train.iterations=60",
        "lr=0.003",
        "infer=prototype",
        "stream.vocabulary=500",
    ]
    execute_seeds(hm.resolve(f"folder:{animals}", "hnet", [*words, "weights=lora"]), [0], tmp_path / "run")
    seed = tmp_path / "run" / "seed-0"
    files = [animals / name / "3.txt" for name in ("cat", "cow", "dog", "owl")]
    answers = [p.answer for p in predict(seed, files)]
    assert sum(a == b for a, b in zip(answers, ("cat", "cow", "dog", "owl"), strict=True)) >= 3
    exported = export_task(seed, task=1)
    about = json.loads(exported.description.read_text())
    assert about["outputs"] == ["dog", "owl"]
    assert {key: about["input"][key] for key in ("shape", "dtype", "vocabulary")} == {
        "shape": [12],
        "dtype": "int64",
        "vocabulary": 500,
    }
    assert "head.weight" in load_file(exported.weights)
    program = torch.export.load(exported.program).module()
    task = restored(seed).learner.model
    x = torch.randint(400, (3, 12))
    with torch.no_grad():
        torch.testing.assert_close(program(x), task.eval()(x, 1))


def test_further_classes(animals: Path, tmp_path: Path):
    execute_seeds(
        hm.resolve("split-docstrings", "er", [*SMALL, "train.iterations=5", "stream.tasks=2"]),
        [0],
        tmp_path / "run",
    )
    found = learn(tmp_path / "run", str(animals), ["train.iterations=60", "lr=0.01"])
    assert found.classes == ("cat", "cow", "dog", "owl")
    result = json.loads((found.directory / "result.json").read_text())
    assert result["scenarios"]["task"]["matrix"][-1][-1] > 0.9


def test_what_is_for_images_only():
    for words, said in (
        (["infer=agreement"], "infer=agreement looks at noisy views of images"),
        (
            ["net=vit"],
            "vit takes images, and these samples are texts of 12 tokens: take net=text-transformer",
        ),
    ):
        with pytest.raises(HypermnesiaError, match=said):
            settings = [w for w in SMALL if not w.startswith("net.")]
            hm.build(hm.resolve("split-docstrings", "hnet", [*settings, *words]))
