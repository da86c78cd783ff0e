"""Numbers to be told in place of classes: what may be brought, how it is cut, and what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.outline import from_outline, outline
from hypermnesia.data.sources.source import Source

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3)).astype(np.float32)
Y = 100 + 20 * X[:, 0] + RNG.normal(size=60)


def source() -> Source:
    return hm.from_arrays(X, Y, task="regression", class_names=["price"])


def test_arrays_frames_csv_and_npz_bring_the_same_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": X[:, 0], "b": X[:, 1], "c": X[:, 2], "target": Y})
    frame.to_csv(tmp_path / "prices.csv", index=False)
    np.savez(tmp_path / "prices.npz", x=X, y=Y)
    given = [
        hm.from_arrays(X, Y, task="regression"),
        hm.from_arrays(frame, task="regression"),
        hm.from_arrays(torch.from_numpy(X), torch.from_numpy(Y), task="regression"),
        hm.from_arrays([(x, y) for x, y in zip(X, Y, strict=True)], task="regression"),
        hm.open_source(f"npz:{tmp_path}/prices.npz", task="regression"),
        hm.open_source(f"csv:{tmp_path}/prices.csv", task="regression"),
    ]
    for one in given:
        assert one.tells_numbers and one.class_names == ("target",) and len(one.test) == 12
        torch.testing.assert_close(one.train.y, given[0].train.y)
        torch.testing.assert_close(one.train.x, given[0].train.x)


def test_labels_are_standardised_by_the_whole_training_part() -> None:
    own = source()
    stream = hm.split(own, tasks=3, feature=0)
    y = own.train.y.double()
    assert stream.target is not None and stream.target.name == "price"
    assert stream.target.mean == pytest.approx(float(y.mean())) and stream.target.std == pytest.approx(
        float(y.std(correction=0))
    )
    labels = torch.cat([task.train.y for task in stream.tasks])
    assert labels.dtype == torch.float32 and float(labels.mean()) == pytest.approx(0, abs=1e-6)
    back = labels.double() * stream.target.std + stream.target.mean
    torch.testing.assert_close(back.sort().values, y.sort().values, rtol=1e-5, atol=1e-4)


def test_tasks_are_regions_of_a_feature_or_stretches_of_rows() -> None:
    stream = hm.split(source(), tasks=3, feature=0)
    parts = [task.train.images.x[task.train.index][:, 0] for task in stream.tasks]
    assert [len(part) for part in parts] == [16, 16, 16]
    assert all(bool(a.max() < b.min()) for a, b in zip(parts, parts[1:], strict=False))
    assert [task.classes for task in stream.tasks] == [(0,), (0,), (0,)] and stream.shared_labels
    rows = hm.split(source(), tasks=3)
    assert torch.cat([task.train.index for task in rows.tasks]).tolist() == list(range(48))
    assert "numbers (price), vectors of 3" in repr(stream)


def test_own_tasks_validation_and_outline() -> None:
    halves = [hm.from_arrays(X[i::2], Y[i::2], task="regression") for i in range(2)]
    stream = hm.stream_of(halves)
    assert [task.name for task in stream.tasks] == ["task 1", "task 2"] and stream.target is not None
    again = from_outline(outline(stream))
    assert again.target == stream.target and again.tasks[0].train.y.dtype == torch.float32
    cut = hm.load(source(), options=hm.StreamOptions(tasks=2, validation=0.25, samples_per_task=20))
    assert [(len(t.train), len(t.validation or ())) for t in cut.tasks] == [(15, 5), (15, 5)]
    assert hm.split(source(), tasks=2).sha256 != stream.sha256


def test_the_diabetes_of_scikit_learn() -> None:
    stream = hm.load("split-diabetes")
    assert (
        len(stream.tasks) == 4
        and stream.shape == (10,)
        and sum(len(t.train) + len(t.test) for t in stream.tasks) == 442
    )
    assert stream.target is not None and stream.target.mean == pytest.approx(152, abs=5)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: hm.from_arrays(X, Y), 'labels are float64, expected integers or strings; task="regression" tells numbers'),
        (lambda: hm.from_arrays(X, Y.reshape(-1, 2).repeat(2, 0), task="regression"), "several at once cannot be learned"),
        (lambda: hm.from_arrays(X, np.eye(3)[[0, 1, 2] * 20]), r"several labels of a sample \(multi-label\) cannot be learned"),
        (lambda: hm.from_arrays(X, ["a"] * 60, task="regression"), "task=regression expects numbers"),
        (lambda: hm.from_arrays(X, np.where(Y > 130, np.nan, Y), task="regression"), "expected finite numbers"),
        (lambda: hm.from_arrays(X, np.ones(60), task="regression"), "there is nothing to tell apart"),
        (lambda: hm.open_source("digits", task="regression"), "reads numbers from csv:PATH or npz:PATH"),
        (lambda: hm.split(source(), classes_per_task=2), "numbers have no classes to order or to count"),
        (lambda: hm.split(source(), feature=3), "stream.feature=3, and the samples of arrays are vectors"),
        (lambda: hm.split(source(), tasks=40), "expected two of each: give fewer stream.tasks"),
        (lambda: hm.load(source(), options=hm.StreamOptions(shots=2)), "take stream.samples_per_task"),
        (lambda: hm.stream_of([source(), hm.from_arrays(X, [0, 1] * 30)]), "some tasks have classes and some numbers"),
        (lambda: hm.split(hm.from_arrays(X, [0, 1] * 30), feature=0), "stream.feature cuts a regression"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_says_what_can(call, told: str) -> None:
    with pytest.raises(HypermnesiaError, match=told):
        call()
