import re
from pathlib import Path

import numpy as np
import pytest
import torch
from data.conftest import MakeSource, png

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions, from_arrays, stream_of

X = np.random.default_rng(0).normal(size=(3, 10, 4))
Y = np.arange(10) % 2


def test_the_same_classes_in_every_task_make_a_domain_stream():
    stream = stream_of([(x, Y) for x in X], names=["spring", "summer", "autumn"])
    assert stream.shared_labels and stream.class_names == ("0", "1")
    assert [task.name for task in stream.tasks] == ["spring", "summer", "autumn"]
    for task, x in zip(stream.tasks, X, strict=True):
        seen = torch.cat([part.batch(torch.arange(len(part)))[0] for part in (task.train, task.test)])
        assert sorted(seen.tolist()) == sorted(x.astype(np.float32).tolist())
    assert stream.tests == tuple(task.test for task in stream.tasks)
    whole = np.concatenate([stream.tasks[t].train.batch(torch.arange(8))[0].numpy() for t in range(3)])
    np.testing.assert_allclose(stream.preprocess.mean, whole.mean(0), rtol=1e-5)


def test_different_and_returning_classes():
    first = from_arrays(X[0], np.array(["ant", "bee"])[Y])
    second = from_arrays(X[1], np.array(["cow", "ant"])[Y])
    stream = stream_of([first, second])
    assert stream.class_names == ("ant", "bee", "cow")
    assert [task.classes for task in stream.tasks] == [(0, 1), (0, 2)]
    assert [task.name for task in stream.tasks] == ["ant, bee", "ant, cow"]
    for task, source in zip(stream.tasks, (first, second), strict=True):
        names = [stream.class_names[c] for c in task.train.y.tolist()]
        assert names == [source.class_names[c] for c in source.train.y.tolist()]
    assert not stream.shared_labels


def test_classes_of_equal_names_may_be_apart():
    stream = stream_of([(x, Y) for x in X], apart=True)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5)]
    assert stream.class_names == ("0", "1", "0 (task 2)", "1 (task 2)", "0 (task 3)", "1 (task 3)")


def test_a_stream_of_own_tasks_is_learned():
    stream = stream_of([(x + 4 * Y[:, None], Y + 2 * t) for t, x in enumerate(X)])
    model = hm.model_for(stream, lambda outputs: torch.nn.Linear(4, outputs))
    records = hm.fit(model, stream, hm.ER(), hm.TrainOptions(iterations=50, batch_size=8))
    assert [len(row) for row in records.rows["task"]] == [3, 3, 3]


def folders(path: Path, colours: bool = False) -> None:
    for t, classes in enumerate((("ant", "bee"), ("cow", "dog"))):
        for c, name in enumerate(classes):
            (path / f"task {t}" / name).mkdir(parents=True)
            for i in range(3):
                pixels = np.full((4, 4, 3) if colours and t else (4, 4), 40 * c + i, np.uint8)
                (path / f"task {t}" / name / f"{i}.png").write_bytes(png(pixels))


@pytest.mark.parametrize("colours", [False, True])
def test_a_folder_for_each_task(tmp_path: Path, colours: bool):
    folders(tmp_path, colours)
    stream = hm.load(f"folders:{tmp_path}", options=StreamOptions(size=8, validation=0.5))
    assert stream.shape == (3 if colours else 1, 8, 8)
    assert [(task.name, task.classes) for task in stream.tasks] == [("task 0", (0, 1)), ("task 1", (2, 3))]
    assert stream.class_names == ("ant", "bee", "cow", "dog")
    with pytest.raises(HypermnesiaError, match="has no stream.tasks; its options"):
        hm.load(f"folders:{tmp_path}", options=StreamOptions(tasks=2))


def test_what_is_refused(tmp_path: Path, make_source: MakeSource):
    with pytest.raises(HypermnesiaError, match="the list of tasks is empty"):
        stream_of([])
    with pytest.raises(HypermnesiaError, match="1 names for 3 tasks; expected one for each"):
        stream_of([(x, Y) for x in X], names=["one"])
    said = "samples are vectors of shape (3,) and vectors of shape (4,); expected one kind and shape"
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        stream_of([(X[0], Y), (X[1, :, :3], Y)])
    with pytest.raises(HypermnesiaError, match="has no sub-folder; expected one for each task"):
        hm.load(f"folders:{tmp_path}")
    with pytest.raises(HypermnesiaError, match="no such folder"):
        hm.load(f"folders:{tmp_path / 'gone'}")
