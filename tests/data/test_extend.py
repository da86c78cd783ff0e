"""Further tasks behind those of a stream whose samples are gone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from data.conftest import MakeSource
from PIL import Image

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Preprocess, Stream, StreamOptions, load, split
from hypermnesia.data.extend import Further, extended, named, retested
from hypermnesia.data.outline import beginning, from_outline, outline
from hypermnesia.data.sources.decode import with_channels


def pictures(folder: Path, classes: dict[str, int], side: int = 12, mode: str = "RGB") -> str:
    """Ten single-coloured pictures of each class; class → their grey value. Returns `folder:PATH`."""
    for name, value in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(10):
            image = Image.fromarray(np.full((side, side), value + i, np.uint8))
            image.convert(mode).save(folder / name / f"{i}.png")
    return f"folder:{folder}"


@pytest.fixture
def earlier(make_source: MakeSource) -> Stream:
    """Two tasks of two classes, "class 0" to "class 3"; without samples, as a finished run has it."""
    stream = split(make_source(), tasks=2, preprocess=Preprocess(mean=(0.3,), std=(0.5,), flip=True))
    return from_outline(outline(stream))


def test_new_classes_are_one_more_task_in_the_streams_shape(earlier: Stream, tmp_path: Path):
    stream = extended(earlier, Further(data=pictures(tmp_path, {"a": 50, "b": 150})))
    assert stream.class_names == (*earlier.class_names, "a", "b")
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5)]
    assert [len(task.train) for task in stream.tasks] == [0, 0, 16]
    assert (stream.tasks[2].index, stream.tasks[2].name, stream.shape) == (2, "a, b", (1, 8, 8))
    assert stream.preprocess == earlier.preprocess
    raw, y = stream.tasks[2].train.batch(torch.arange(16))
    assert y.tolist() == [4] * 8 + [5] * 8
    assert raw.flatten(1).float().std(1).max() == 0
    assert set(raw[:8, 0, 0, 0].tolist()) < set(range(50, 60))
    assert all(test is task.test for test, task in zip(stream.tests, stream.tasks, strict=True))


def test_classes_are_known_by_their_names_unless_said_otherwise(earlier: Stream, tmp_path: Path):
    data = pictures(tmp_path, {"class 1": 5, "new": 100})
    stream = extended(earlier, Further(data=data))
    assert (stream.class_names[4:], stream.tasks[2].classes) == (("new",), (1, 4))
    assert set(stream.tasks[2].train.y.tolist()) == {1, 4}
    apart = extended(earlier, Further(data=data, apart=True))
    assert (apart.class_names[4:], apart.tasks[2].classes) == (("class 1 (2)", "new"), (4, 5))


def test_several_tasks(earlier: Stream, tmp_path: Path):
    data = pictures(tmp_path, {"a": 0, "b": 50, "c": 100, "d": 150})
    options = StreamOptions(classes_per_task=2, samples_per_task=10, validation=0.2)
    stream = extended(earlier, Further(data=data, options=options))
    assert [task.classes for task in stream.tasks[2:]] == [(4, 5), (6, 7)]
    assert [(len(t.train), len(t.validation or ())) for t in stream.tasks[2:]] == [(8, 2), (8, 2)]
    few = extended(earlier, Further(data=data, options=StreamOptions(shots=3)))
    assert [len(task.train) for task in few.tasks[2:]] == [12]
    three = extended(earlier, Further(data=data, options=StreamOptions(tasks=3)))
    assert [len(task.classes) for task in three.tasks[2:]] == [2, 1, 1]


def test_the_checksum_tells_what_was_learned_before_and_after(earlier: Stream, tmp_path: Path):
    data = pictures(tmp_path / "1", {"a": 0, "b": 50})
    other = pictures(tmp_path / "2", {"a": 1, "b": 50})
    found = [extended(earlier, Further(data=d)).sha256 for d in (data, data, other)]
    assert found[0] == found[1] != found[2]


def test_a_continued_stream_has_a_beginning(earlier: Stream, tmp_path: Path):
    """What is read back of a continued run gives the same stream again."""
    further = Further(data=pictures(tmp_path, {"a": 0, "class 2": 50}))
    stream = extended(earlier, further)
    again = extended(beginning(from_outline(outline(stream)), tasks=2, classes=4), further)
    assert again.sha256 == stream.sha256


def test_texts(tmp_path: Path):
    stream = from_outline(outline(load("split-docstrings", options=StreamOptions(length=10, vocabulary=77))))
    for name in ("prose", "verse"):
        (tmp_path / name).mkdir()
        for i in range(5):
            (tmp_path / name / f"{i}.txt").write_text(f"{name} number {i}")
    longer = extended(stream, Further(data=f"folder:{tmp_path}", vocabulary=77))
    x, _ = longer.tasks[-1].train.batch(torch.arange(8))
    assert (tuple(x.shape), int(x.max()) < 77, longer.class_names[-2:]) == ((8, 10), True, ("prose", "verse"))


def test_data_that_do_not_fit(earlier: Stream, tmp_path: Path, make_source: MakeSource):
    oblong = from_outline(outline(earlier) | {"shape": [1, 8, 6]})
    data = pictures(tmp_path, {"a": 0, "b": 50})
    with pytest.raises(
        HypermnesiaError,
        match=r"of shape \(1, 12, 12\), those of split images of shape \(1, 8, 6\), to which",
    ):
        extended(oblong, Further(data=data))
    by_class = from_outline(outline(earlier) | {"tests": 4})
    with pytest.raises(
        HypermnesiaError, match="split is tested class by class: it cannot be given further tasks"
    ):
        extended(by_class, Further(data=data))
    with pytest.raises(
        HypermnesiaError, match="further data has no stream.size; its options: stream.classes_per_task"
    ):
        Further(data=data, options=StreamOptions(size=8))


def test_names_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "pictures"
    pictures(folder, {"a": 0, "b": 50})
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.parquet").touch()
    monkeypatch.chdir(tmp_path)
    assert named("pictures") == named("folder:pictures") == f"folder:{folder}"
    assert named("tables") == f"parquet:{tmp_path}/tables"
    assert named("tables/train.parquet") == f"parquet:{tmp_path}/tables/train.parquet"
    assert (named("hub:owner/name"), named("digits")) == ("hub:owner/name", "digits")
    assert named("fashion-mnist") == "fashion-mnist"
    for missing in ("no/such/folder", "folder:nothing"):
        with pytest.raises(
            HypermnesiaError, match="no such file or folder; expected a folder with a sub-folder for each"
        ):
            named(missing)


def test_earlier_tasks_can_be_tested_again(make_source: MakeSource, tmp_path: Path):
    original = split(make_source(), tasks=2)
    stream = extended(from_outline(outline(original)), Further(data=pictures(tmp_path, {"a": 0, "b": 50})))
    again = retested(stream, original)
    assert [len(test) for test in again.tests] == [4, 4, 4]
    assert [len(task.train) for task in again.tasks] == [0, 0, 16]
    with pytest.raises(
        HypermnesiaError, match="split is not what the run has learned: its task 1 is 'class 3, class 2'"
    ):
        retested(stream, split(make_source(), tasks=2, order=(3, 2, 1, 0)))


def test_channels():
    x = torch.randint(256, (5, 3, 4, 4), dtype=torch.uint8)
    grey = with_channels(x, 1)
    for i in range(5):
        expected = np.asarray(Image.fromarray(x[i].permute(1, 2, 0).numpy()).convert("L"))
        assert np.array_equal(grey[i, 0].numpy(), expected)
    assert torch.equal(with_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    assert with_channels(x, 3) is x
    with pytest.raises(
        HypermnesiaError, match="images of 3 channels cannot be brought to 2: expected 1 and 3"
    ):
        with_channels(x, 2)
