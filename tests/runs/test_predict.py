"""Predictions for a user's own image files."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from running import SHORT, said
from sklearn.datasets import load_digits

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs import predict as predicting
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.predict import evaluate, predict, read_images

WORDS = [*SHORT[1:], "train.iterations=60"]


@pytest.fixture(scope="module")
def seed_of(tmp_path_factory):
    made: dict[str, Path] = {}

    def get(approach: str) -> Path:
        if approach not in made:
            made[approach] = tmp_path_factory.mktemp("predict") / "seed-0"
            execute_seeds(resolve("split-digits", approach, WORDS), [0], made[approach].parent)
        return made[approach]

    return get


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> list[Path]:
    """The first image of each digit as 8 × 8 grey PNG files."""
    folder, data = tmp_path_factory.mktemp("digits"), load_digits()
    paths = [folder / f"{digit}.png" for digit in range(10)]
    for digit, path in enumerate(paths):
        Image.fromarray(np.round(data.images[digit] * 255 / 16).astype(np.uint8)).save(path)
    return paths


@pytest.mark.parametrize("approach", ["hnet", "er", "icarl", "joint"])
def test_the_task_is_given(seed_of, digits, approach):
    found = predict(seed_of(approach), digits[2:4], task=1)
    assert [p.answer for p in found] == ["2", "3"]
    assert [p.image for p in found] == digits[2:4]
    assert all(p.task == 1 and not p.inferred and {name for name, _ in p.ranked} == {"2", "3"} for p in found)
    for prediction in found:
        shares = [share for _, share in prediction.ranked]
        assert sum(shares) == pytest.approx(1) and shares == sorted(shares, reverse=True)


def test_the_task_is_inferred_where_weights_depend_on_it(seed_of, digits):
    found = predict(seed_of("hnet"), digits)
    assert all(p.inferred and p.task is not None and len(p.ranked) == 2 for p in found)
    run = restored(seed_of("hnet"))
    learner, model = run.learner, run.learner.model.eval()
    x = learner.preprocess(read_images(digits, (1, 8, 8)), None)
    with torch.no_grad():
        guess = run.inference.scores(
            run.learner.inference_state, learner, [model.overlay(t) for t in range(5)], x
        )
    assert [p.task for p in found] == guess.guess.tolist()
    outputs = [run.tested_on.tasks[t].classes[i] for t, i in zip(guess.guess, guess.local, strict=True)]
    assert [p.answer for p in found] == [run.tested_on.class_names[c] for c in outputs]


@pytest.mark.parametrize("approach", ["er", "joint", "icarl"])
def test_one_network_for_all_looks_in_all_classes(seed_of, digits, approach):
    found = predict(seed_of(approach), digits)
    assert all(p.task is None and not p.inferred and len(p.ranked) == 10 for p in found)
    right = sum(p.answer == str(digit) for digit, p in enumerate(found))
    assert right >= 3  # chance: 1


def test_images_are_brought_to_the_shape(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, 2)).save(tmp_path / "colour.png")
    Image.fromarray(grey).resize((40, 30)).save(tmp_path / "large.png")
    paths = [tmp_path / "grey.png", tmp_path / "colour.png"]
    x = read_images(paths, (1, 8, 8))
    assert x.dtype == torch.uint8 and x.shape == (2, 1, 8, 8)
    assert torch.equal(x[0], torch.from_numpy(grey)[None]) and torch.equal(x[0], x[1])
    assert read_images([tmp_path / "large.png"], (3, 8, 8)).shape == (1, 3, 8, 8)


def test_colour_becomes_grey_as_pillow_does_it(tmp_path):
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    colour.save(tmp_path / "a.png")
    expected = torch.from_numpy(np.array(colour.convert("L")))
    assert torch.equal(read_images([tmp_path / "a.png"], (1, 8, 8))[0, 0], expected)


def test_bad_images_are_told(tmp_path):
    broken, oblong, huge = tmp_path / "broken.png", tmp_path / "oblong.png", tmp_path / "huge.png"
    broken.write_bytes(b"\x89PNG\r\n\x1a\n")
    Image.new("L", (8, 4)).save(oblong)
    Image.new("1", (30000, 3000)).save(huge)
    for path, shape, fault in [
        (broken, (1, 8, 8), "broken.png: the image cannot be read"),
        (tmp_path / "none.png", (1, 8, 8), "none.png: the image cannot be read (FileNotFoundError"),
        (huge, (1, 8, 8), "huge.png: the image is too large"),
        (oblong, (1, 8, 4), "the images have 8×4 pixels; this run was trained on 4×8"),
        (oblong, (2, 8, 8), "this run's samples have the shape (2, 8, 8)"),
        (oblong, (20,), "this run's samples have the shape (20,)"),
    ]:
        with pytest.raises(HypermnesiaError) as error:
            read_images([path], shape)
        assert fault in str(error.value)


def test_a_task_that_was_not_learned_is_told(seed_of, digits):
    with pytest.raises(
        HypermnesiaError, match="there is no task 6: the last checkpoint has learned task 1 to 5"
    ):
        predict(seed_of("hnet"), digits[:1], task=5)


# -------------------------------------------------------------------------------------------- folders and the commands


@pytest.fixture(scope="module")
def by_class(tmp_path_factory, digits) -> Path:
    """A folder with two images of each of the classes 2 and 3, one of them misplaced."""
    root = tmp_path_factory.mktemp("by-class")
    for name, images in {"2": [2, 2], "3": [3, 2]}.items():
        (root / name).mkdir()
        for i, digit in enumerate(images):
            (root / name / f"{i}.png").write_bytes(digits[digit].read_bytes())
    return root


def test_folders_are_read_whole_and_in_order(seed_of, by_class, digits, monkeypatch):
    monkeypatch.setattr(predicting, "AT_ONCE", 3)
    found = predict(seed_of("hnet"), [by_class, digits[2]], task=1)
    names = [str(p.image.relative_to(by_class)) for p in found[:4]]
    assert names == ["2/0.png", "2/1.png", "3/0.png", "3/1.png"] and found[4].image == digits[2]
    assert [p.answer for p in found] == ["2", "2", "3", "2", "2"]
    (by_class / "empty").mkdir(exist_ok=True)
    with pytest.raises(HypermnesiaError, match="empty' has no image; expected files ending in .png"):
        predict(seed_of("hnet"), [by_class / "empty"])
    (by_class / "empty").rmdir()


def test_predictions_as_json_and_as_csv(seed_of, digits, capsys):
    listed = said(capsys, "predict", seed_of("hnet"), *digits[2:4], "--task", 2, "--json")
    first, second = json.loads(listed.out)
    assert (first["file"], first["answer"], first["task"], first["task_inferred"]) == (
        str(digits[2]),
        "2",
        2,
        False,
    )
    assert first["classes"][0] == {"name": "2", "confidence": first["confidence"]} and second["answer"] == "3"
    table = said(capsys, "predict", seed_of("er"), *digits[2:4], "--csv").out
    rows = list(csv.reader(io.StringIO(table)))
    assert rows[0] == ["file", "answer", "confidence", "task"] and [row[0] for row in rows[1:]] == [
        str(d) for d in digits[2:4]
    ]
    assert all(0 < float(row[2]) <= 1 and row[3] == "" for row in rows[1:])
    both = said(capsys, "predict", seed_of("er"), digits[0], "--json", "--csv")
    assert both.code == 2 and "--json --csv: choose one of the two" in both.err


def test_a_folder_of_classes_is_scored(seed_of, by_class, tmp_path, capsys):
    found = evaluate(seed_of("hnet"), by_class, task=1)
    assert [(c.name, c.files, c.right, c.mostly) for c in found] == [("2", 2, 2, None), ("3", 2, 1, ("2", 1))]
    inferred = evaluate(seed_of("hnet"), by_class)
    answers = [p.answer for p in predict(seed_of("hnet"), [by_class])]
    assert [c.right for c in inferred] == [answers[:2].count("2"), answers[2:].count("3")]
    listed = json.loads(said(capsys, "evaluate", seed_of("hnet"), by_class, "--task", 2, "--json").out)
    assert listed["accuracy"] == listed["mean_class_accuracy"] == 0.75 and listed["classes"][1]["mostly"] == [
        "2",
        1,
    ]
    lines = [
        line.split()
        for line in said(capsys, "evaluate", seed_of("hnet"), by_class, "--task", 2).out.splitlines()
    ]
    assert lines[1] == ["2", "2", "2", "100.0", "%"] and lines[2] == ["3", "2", "1", "50.0", "%", "2", "(1)"]
    assert lines[3] == ["all", "4", "3", "75.0", "%"]
    (tmp_path / "owl").mkdir()
    (tmp_path / "owl" / "a.png").write_bytes(b"")
    for folder, fault in [
        (tmp_path, "has class 'owl', which the run in .* has not learned"),
        (tmp_path / "owl", "a sub-folder"),
    ]:
        with pytest.raises(HypermnesiaError, match=fault):
            evaluate(seed_of("hnet"), folder)
