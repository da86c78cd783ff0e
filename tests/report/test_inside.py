import base64
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA

from hypermnesia import report
from hypermnesia.report import inside
from hypermnesia.report.draw.colours import png
from hypermnesia.report.load import Note
from hypermnesia.report.summary import Summary, summarise


def summary(runs: Any) -> Summary:
    return summarise(report.load([runs.root]).benchmarks[0])


def test_principal_plane_is_that_of_scikit_learn() -> None:
    table = np.random.default_rng(0).normal(size=(7, 5))
    pca = PCA(2).fit(table)
    points, shares = inside.principal_plane(table.tolist())
    theirs = pca.transform(table)
    signs = np.sign((np.array(points) * theirs).sum(0))
    assert np.array(points) * signs == pytest.approx(theirs)
    assert shares == pytest.approx(pca.explained_variance_ratio_)


@pytest.mark.parametrize(
    ("table", "points", "shares"),
    [
        ([[1.0], [3.0]], [1.0, 1.0], (1.0, 0.0)),  # distances from the mean on the first component
        ([[2.0, 2.0], [2.0, 2.0]], [0.0, 0.0], (0.0, 0.0)),
        ([[1e100, 0.0], [-1e100, 0.0]], [1e100, 1e100], (1.0, 0.0)),
    ],
)
def test_principal_plane_of_odd_embeddings(table: list, points: list, shares: tuple) -> None:
    found, variances = inside.principal_plane(table)
    assert [abs(x) for x, _ in found] == pytest.approx(points)
    assert variances == pytest.approx(shares)


PNG = base64.b64encode(png([[(0, 0, 0)]])).decode()


@pytest.mark.parametrize(
    ("encoded", "good"),
    [
        (PNG, True),
        ('"><script>', False),
        (PNG + '"', False),
        (base64.b64encode(b"GIF89a" + b"\0" * 40).decode(), False),
        (base64.b64encode(png([[(0, 0, 0)] * 1025])).decode(), False),
        ("A" * 400_000, False),
        ("", False),
    ],
)
def test_is_png(encoded: str, good: bool) -> None:
    assert inside.is_png(encoded) is good


def test_only_pictures_are_shown(runs: Any) -> None:
    runs.run("er", seeds=1, memory={"classes": {"a": 1}, "images": [PNG, "x", PNG]})
    notes: list[Note] = []
    (block,) = inside.memory(summary(runs), notes).blocks
    assert block.images == [f"data:image/png;base64,{PNG}"] * 2
    assert notes == [Note("er/seed-0", "memory.images: 1 left out: not a small PNG picture in base64")]
    assert block.figures[0].remark == "1 example of 1 class, seed 0"


def test_sections_are_empty_without_their_keys(runs: Any) -> None:
    for seed in range(2):
        runs.seed("er", runs.result("er", seed), events=False)
    found = summary(runs)
    notes: list[Note] = []
    sections = [inside.confusion(found), inside.embeddings(found), inside.masks(found)]
    sections += [inside.memory(found, notes), inside.learning_curves(found, notes)]
    assert [section.blocks for section in sections] == [[]] * 5 and notes == []


def test_confusion_is_the_mean_of_seeds_of_one_shape(runs: Any) -> None:
    for seed, confusion in enumerate(([[1.0, 0.0], [0.0, 1.0]], [[0.5, 0.5], [0.5, 0.5]], [[1.0]])):
        runs.seed("er", runs.result("er", seed, infer={"confusion": confusion}))
    (figure,) = inside.confusion(summary(runs)).blocks[0].figures
    assert "75.00 %" in figure.picture and "25.00 %" in figure.picture
    assert figure.remark == "mean of 2 seeds"


def test_embeddings_are_of_one_seed(runs: Any) -> None:
    runs.run("hnet", embeddings=[[0.0, 1.0], [1.0, 0.0], [2.0, 5.0]])
    (figure,) = inside.embeddings(summary(runs)).blocks[0].figures
    assert figure.remark == "seed 0, 2 dimensions"


def test_a_damaged_log_is_noted_and_its_beginning_shown(runs: Any) -> None:
    directory = runs.seed("er", runs.result("er", 0))
    with (directory / "events.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"event": "st')
    notes: list[Note] = []
    (block,) = inside.learning_curves(summary(runs), notes).blocks
    assert [key.name for key in block.figures[0].keys] == ["loss", "cross_entropy", "drift"]
    assert notes == [Note("er/seed-0", "events.jsonl: line 311 is no event; read up to it")]
