"""Data as people hold them in Python, with the real packages: NumPy, torch, PIL, pandas, pyarrow and `datasets`."""

import re
from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import TextForm

N = 12
Y = np.arange(N) % 3
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 3, 6, 6), dtype=np.uint8)
VECTORS = np.random.default_rng(1).normal(size=(N, 4))
FRAME = pd.DataFrame(VECTORS, columns=["a", "b", "c", "d"]).assign(target=[f"kind {y}" for y in Y])


class Pairs(Dataset):
    """A map-style data set of given pairs, which counts what is read."""

    def __init__(self, samples: Any, labels: Any, classes: list[str] | None = None) -> None:
        self.samples, self.labels, self.read = samples, labels, 0
        if classes is not None:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Any:
        self.read += 1
        return self.samples[i], self.labels[i]


def whole(source: hm.data.Source) -> list[tuple[list[Any], str]]:
    """All samples with the names of their classes, in an order of their own."""
    rows = [
        (x.flatten().tolist(), source.class_names[int(y)])
        for part in (source.train, source.test)
        for x, y in zip(part.x, part.y, strict=True)
    ]
    return sorted(rows)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor, np.ndarray.tolist])
def test_vectors_as_arrays_tensors_and_lists(convert: Any):
    source = hm.from_arrays(convert(VECTORS), convert(Y))
    assert (source.kind, source.shape, source.class_names) == ("vectors", (4,), ("0", "1", "2"))
    assert (len(source.train), len(source.test)) == (9, 3)
    expected = sorted((row, str(y)) for row, y in zip(VECTORS.astype(np.float32).tolist(), Y, strict=True))
    assert whole(source) == expected


def test_a_test_part_stays_as_it_is():
    source = hm.from_arrays(PIXELS, Y, PIXELS[:3], Y[:3])
    assert (len(source.train), len(source.test)) == (N, 3)
    assert np.array_equal(source.train.x.numpy(), PIXELS)
    stream = hm.split((PIXELS, Y), test=(PIXELS[:3], Y[:3]), tasks=3)
    assert [len(task.test) for task in stream.tasks] == [1, 1, 1]


def test_labels_with_gaps_or_strings():
    assert hm.from_arrays(VECTORS, 10 * Y).class_names == ("0", "10", "20")
    texts = np.array(["cow", "ant", "bee"])[Y]
    source = hm.from_arrays(VECTORS, texts, VECTORS[:3], texts[:3])
    assert source.class_names == ("ant", "bee", "cow")
    assert source.test.y.tolist() == [2, 0, 1]


def test_strings_are_texts():
    source = hm.from_arrays([f"word{y} is here" for y in Y], Y, text=TextForm(5))
    assert (source.kind, source.shape) == ("texts", (5,))


def test_a_torch_data_set_is_read_once_and_names_its_classes():
    images = [Image.fromarray(x.transpose(1, 2, 0)) for x in PIXELS]
    pairs = Pairs(images, Y.tolist(), classes=["ant", "bee", "cow"])
    stream = hm.split(pairs, tasks=3)
    assert pairs.read == N
    assert stream.class_names == ("ant", "bee", "cow")
    arrays = hm.from_arrays(PIXELS, Y, class_names=np.array(["ant", "bee", "cow"]))
    assert whole(hm.from_arrays(pairs)) == whole(arrays)


def test_what_to_tensor_makes_goes_back_to_bytes():
    pairs = TensorDataset(torch.from_numpy(PIXELS) / 255, torch.from_numpy(Y))
    assert whole(hm.from_arrays(pairs)) == whole(hm.from_arrays(PIXELS, Y))


def test_a_frame_and_a_table():
    expected = whole(hm.from_arrays(VECTORS, FRAME["target"].to_numpy()))
    shuffled = FRAME[["target", "a", "b", "c", "d"]].astype({"target": "category"})
    for data in (FRAME, shuffled, pa.Table.from_pandas(FRAME)):
        assert whole(hm.from_arrays(data)) == expected
    assert whole(hm.from_arrays(FRAME.rename(columns={"target": "y"}), label="y")) == expected
    assert whole(hm.from_arrays(FRAME[["a", "b", "c", "d"]], FRAME["target"])) == expected


def test_data_sets_of_hugging_face():
    labels = datasets.ClassLabel(names=["ant", "bee", "cow"])
    images = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(x.transpose(1, 2, 0)) for x in PIXELS], "label": Y.tolist()},
        features=datasets.Features(image=datasets.Image(), label=labels),
    )
    assert whole(hm.from_arrays(images)) == whole(
        hm.from_arrays(PIXELS, Y, class_names=["ant", "bee", "cow"])
    )
    both = datasets.DatasetDict(train=images.select(range(9)), test=images.select(range(9, 12)))
    assert len(hm.from_arrays(both).test) == 3
    embedded = datasets.Dataset.from_dict({"embedding": VECTORS.tolist(), "label": Y.tolist()})
    assert whole(hm.from_arrays(embedded)) == whole(hm.from_arrays(VECTORS, Y))
    texts = datasets.Dataset.from_dict({"text": [f"word{y} here" for y in Y], "label": Y.tolist()})
    assert hm.load(texts, options=hm.StreamOptions(tasks=3, length=7)).shape == (7,)


def test_load_permuted_and_rotated_take_them():
    options = hm.StreamOptions(classes_per_task=(2, 1), validation=0.3)
    assert [task.classes for task in hm.load(FRAME, options=options).tasks] == [(0, 1), (2,)]
    stream = hm.permuted(FRAME, tasks=2, test=FRAME.iloc[:3])
    first, second = (task.test.batch(torch.arange(3))[0] for task in stream.tasks)
    assert torch.equal(first.sort(1).values, second.sort(1).values) and not torch.equal(first, second)
    assert len(hm.rotated((PIXELS, Y), tasks=2).tasks) == 2
    with pytest.raises(HypermnesiaError, match=re.escape("rotated needs images (N, C, H, W)")):
        hm.rotated(FRAME, tasks=2)


class Endless(IterableDataset):
    def __iter__(self) -> Iterator[tuple[int, int]]:
        yield 0, 0


BAD: list[tuple[Any, str]] = [
    ((PIXELS.transpose(0, 2, 3, 1), Y), "looks like channels-last images (N, H, W, C)"),
    ((PIXELS / 255, Y), "for float images in 0..1 pass (x * 255).round().to(torch.uint8)"),
    ((PIXELS.astype(int), Y), "samples are torch.int64 (9, 3, 6, 6), expected uint8 images"),
    ((PIXELS[:, 0].astype(np.uint16), Y), "those of 16 bits (x >> 8).to(torch.uint8)"),
    ((VECTORS, Y > 0), "labels are bool, expected integers or strings; pass y.astype(int)"),
    ((VECTORS, Y.astype(object)), "labels are object, expected integers or strings; pass y.astype(int)"),
    ((np.ma.masked_array(VECTORS, VECTORS > 1), Y), "arrays (train): some values are masked; fill them in"),
    (
        (np.where(VECTORS == VECTORS[7, 2], np.inf, VECTORS), Y),
        "arrays (train), row 7: a feature is inf; expected finite",
    ),
    (FRAME.rename(columns={"b": "a"}), "the frame is no table (Duplicate column names found"),
    ((VECTORS, Y.astype(float)), "labels are float64, expected integers or strings; pass y.astype(int)"),
    ((VECTORS, np.eye(3)[Y]), "labels have shape (12, 3), expected (12,): of one-hot rows take y.argmax(1)"),
    ((VECTORS, Y[:5]), "12 samples with 5 labels; expected one for each"),
    ((VECTORS[:4], [0, 0, 1, 2]), "class '1' has one sample only; where no test part is given"),
    ((VECTORS[:, 0], Y), "one number each is (N, 1): x.reshape(-1, 1)"),
    (([[1.0, 2.0], [3.0]], [0, 1]), "the samples differ in shape"),
    ((VECTORS, Y - 1), "a label is -1; expected class ids from 0 on"),
    (
        VECTORS,
        "ndarray holds no labels; expected a pair (x, y) of arrays or tensors, a torch Dataset of pairs",
    ),
    (Endless(), "Endless can only be iterated over; expected a map-style Dataset"),
    (
        Pairs([np.zeros(3), np.zeros(4)], [0, 1]),
        "sample 1 is torch.float32 (4,), sample 0 is torch.float32 (3,)",
    ),
    (Pairs([PIXELS[0] - 0.5] * 4, [0, 1] * 2), "is a float image that is no byte / 255; expected uint8"),
    ([(1, 2, 3)], "data[0] is tuple, expected a pair (sample, label)"),
    (FRAME.rename(columns={"target": "y"}), "column 'y' is large_string; features are numbers: drop it"),
    (FRAME.drop(columns="target"), "no label column; expected one named label or fine_label"),
    (
        FRAME.assign(a=[np.nan, *[1.0] * 11]),
        "arrays (train), row 0: column 'a' is missing; fill in what is missing",
    ),
    (FRAME.reset_index(names="Unnamed: 0"), "column 'Unnamed: 0' numbers the rows, which is no feature"),
]


@pytest.mark.parametrize(("data", "said"), BAD, ids=[said[:40] for _, said in BAD])
def test_what_is_refused_says_what_to_do(data: Any, said: str):
    with pytest.raises(HypermnesiaError, match=re.escape(said)):
        hm.split(data)


def test_train_and_test_must_fit():
    with pytest.raises(HypermnesiaError, match=re.escape("torch.float32 (4,) and torch.float32 (3,)")):
        hm.from_arrays(VECTORS, Y, VECTORS[:, :3], Y)
    with pytest.raises(HypermnesiaError, match="its samples are in column 'a, b, c', those of"):
        hm.from_arrays(FRAME, test_x=FRAME.drop(columns="d"))
    with pytest.raises(HypermnesiaError, match="class 'new' is not in train"):
        hm.from_arrays(VECTORS, ["a", "b", "c"] * 4, VECTORS[:1], ["new"])
    with pytest.raises(HypermnesiaError, match="str brings its own test part"):
        hm.split("digits", test=(VECTORS, Y))
    with pytest.raises(HypermnesiaError, match="str brings its own test part"):
        hm.load("split-digits", test=(VECTORS, Y))
    with pytest.raises(
        HypermnesiaError, match=r"stream.size=8: the samples of arrays have the shape \(3, 6, 6\) already"
    ):
        hm.load((PIXELS, Y), options=hm.StreamOptions(size=8))
