"""Data as people hold them in Python: arrays, tensors, `Dataset`s, tables. All become a source, decoded once."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.waiting import counted
from hypermnesia.data.sources.arrow import find_columns, from_tables, require_same
from hypermnesia.data.sources.decode import GRAY, MAX_BYTES, RawSamples, build_source, pixels
from hypermnesia.data.sources.hub import from_splits, parts_of
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm

Data = Any
"""What `from_arrays` takes as one argument."""
_KNOWN = (
    "a pair (x, y) of arrays or tensors, a torch Dataset of pairs, a Dataset or DatasetDict of the package datasets, a "
    "pandas DataFrame or an Arrow table"
)


def from_arrays(
    x: Data,
    y: Any = None,
    test_x: Data = None,
    test_y: Any = None,
    *,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
    size: int | None = None,
    text: TextForm | None = None,
    task: Targets = "classification",
    name: str = "arrays",
) -> Source:
    """A source of data that are at hand: samples `x` with labels `y`, or in one argument what holds both.

    `x` with `y` (N,): arrays, tensors or lists of uint8 images (N, C, H, W) or (N, H, W), float vectors (N, F), int64
    tokens (N, L), or N strings. Without `y`: a pair (x, y); a map-style torch `Dataset` (or a list) of pairs (sample,
    label), each read once, so without random transforms; a `Dataset` or `DatasetDict` of the package `datasets`; a pandas
    frame or an Arrow table, in which all columns of numbers but the label are features unless there is one of images
    or texts.

    `label`: the column of the labels (default: a known name such as "label" or "target"). Labels are integers, with gaps
    or without, or strings. `class_names[label]` names integers. `size` brings encoded or PIL images to size × size pixels,
    `text` is what strings are brought to. `task="regression"`: labels are numbers to be told, one for each sample, and
    `class_names` may hold their name. Without a test part a fifth of each class is put aside, the same in every run.
    Raises `HypermnesiaError`, which says what to do, for anything else.
    """
    form = text or TextForm()
    class_names = None if class_names is None else [str(title) for title in class_names]
    train, test = _pair(x, y), None if test_x is None else _pair(test_x, test_y)
    splits = [part for part in (train, test) if part is not None]
    if _is(train, "datasets", "DatasetDict") and test is None:
        splits = parts_of(train)
    where = [f"{name} ({part})" for part in ("train", "test")][: len(splits)]
    if all(_is(part, "datasets", "Dataset") for part in splits):
        return from_splits(name, splits, where, size, form, label, class_names, task)
    if all(_is(part, "pandas", "DataFrame") or isinstance(part, pa.Table) for part in splits):
        tables = [
            (_table(part, place), [(place, len(part))]) for part, place in zip(splits, where, strict=True)
        ]
        columns = find_columns(tables[0][0].schema, where[0], label, task)
        for (table, _), place in zip(tables[1:], where[1:], strict=True):
            require_same(find_columns(table.schema, place, label, task), place, columns, where[0])
        return from_tables(name, tables, columns, size, form, class_names)
    if label is not None:
        raise HypermnesiaError(f"{name}: label={label!r} names a column of a table, and these data are none")
    samples, labels = zip(
        *(_part(part, place, size, task) for part, place in zip(splits, where, strict=True)), strict=True
    )
    numbers, found = (labels, None) if task == "regression" else _numbered(labels, where)
    texts = isinstance(samples[0], list)
    parts = [
        RawSamples(part, number, ((place, len(number)),), texts)
        for part, number, place in zip(samples, numbers, where, strict=True)
    ]
    names = class_names or found or (None if task == "regression" else _classes_of(train, numbers))
    return build_source(name, parts[0], parts[1] if len(parts) > 1 else None, names, size, form)


def _pair(x: Data, y: Any) -> Data:
    """What holds samples and labels, in one; a frame whose labels are given apart is an array of features."""
    if y is None:
        return x
    if _is(x, "pandas", "DataFrame"):
        x = _features(x)
    return x, y


def _is(data: Any, package: str, kind: str) -> bool:
    """Whether `data` are of a class of a package, which is imported if they are."""
    module = sys.modules.get(package)
    return module is not None and isinstance(data, getattr(module, kind, ()))


def _table(data: Any, where: str) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    try:
        return pa.Table.from_pandas(data, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise HypermnesiaError(
            f"{where}: the frame is no table ({error}); expected columns of different names, each of one kind of values"
        ) from error


def _features(frame: Any) -> np.ndarray:
    """float32 (N, F) of a frame of numbers."""
    wrong = [str(column) for column, kind in frame.dtypes.items() if kind.kind not in "biuf"]
    if wrong:
        raise HypermnesiaError(
            f"column {wrong[0]!r} is {frame[wrong[0]].dtype}; features are numbers: drop it or encode it"
        )
    return frame.to_numpy(dtype=np.float32)


def _part(data: Data, where: str, size: int | None, task: Targets) -> tuple[Tensor | list[bytes], np.ndarray]:
    """Samples, decoded or as texts, and labels (N,), integers or strings."""
    if isinstance(data, tuple) and len(data) == 2:
        if any(map(np.ma.is_masked, data)):
            raise HypermnesiaError(f"{where}: some values are masked; fill them in, or drop their rows")
        samples, labels = samples_of(data[0], where), _labels(data[1], where, task)
    elif (
        hasattr(data, "__getitem__")
        and hasattr(data, "__len__")
        and not isinstance(data, Mapping | np.ndarray | Tensor)
    ):
        samples, labels = _read(data, where, size, task)
    elif hasattr(data, "__iter__") and not isinstance(data, Mapping | np.ndarray | Tensor):
        raise HypermnesiaError(
            f"{where}: {type(data).__name__} can only be iterated over; expected a map-style Dataset, with len(data) and "
            "data[i]: put its pairs into a list"
        )
    else:
        raise HypermnesiaError(f"{where}: {type(data).__name__} holds no labels; expected {_KNOWN}")
    if len(samples) != len(labels):
        raise HypermnesiaError(
            f"{where}: {len(samples)} samples with {len(labels)} labels; expected one for each"
        )
    return samples, labels


def samples_of(x: Any, where: str) -> Tensor | list[bytes]:
    """Decoded samples, as `Images.x` or for `Source` to refuse; or texts in UTF-8."""
    if not isinstance(x, Tensor):
        try:
            array = np.asarray(x.to_numpy() if hasattr(x, "to_numpy") else x)
        except ValueError as error:
            raise HypermnesiaError(
                f"{where}: the samples differ in shape ({error}); expected one shape"
            ) from error
        if array.ndim == 1 and all(isinstance(value, str) for value in array.tolist()):
            return [value.encode() for value in array.tolist()]
        if array.dtype.kind not in "biuf":
            raise HypermnesiaError(
                f"{where}: samples are {array.dtype}; expected numbers, or strings for texts"
            )
        x = torch.from_numpy(
            np.ascontiguousarray(
                array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
            )
        )
    x = x.detach().cpu()
    if x.ndim < 2:
        raise HypermnesiaError(
            f"{where}: samples have shape {tuple(x.shape)}; one number each is (N, 1): x.reshape(-1, 1); one sample alone x[None]"
        )
    if x.dtype == torch.uint8 and x.ndim == 3:
        return x.unsqueeze(1)
    if x.ndim == 2 and x.dtype.is_floating_point:
        return x.to(torch.float32)
    return x.to(torch.int64) if x.ndim == 2 and x.dtype in (torch.int8, torch.int16, torch.int32) else x


def _labels(y: Any, where: str, task: Targets) -> np.ndarray:
    """(N,) integers or strings; of a regression float32."""
    array = np.asarray(y.detach().cpu() if isinstance(y, Tensor) else y)
    if array.ndim != 1:
        several = array.ndim == 2 and array.shape[1] > 1
        one_hot = (
            ": of one-hot rows take y.argmax(1); several labels of a sample (multi-label) cannot be learned"
        )
        if task == "regression":
            one_hot = ": one number for each sample, such as y[:, 0]; several at once cannot be learned"
        raise HypermnesiaError(
            f"{where}: labels have shape {array.shape}, expected ({len(array) if array.ndim else 0},)"
            + (one_hot if several else "")
        )
    if task == "regression":
        if array.dtype.kind not in "biuf":
            raise HypermnesiaError(f"{where}: targets are {array.dtype}; task=regression expects numbers")
        return array.astype(np.float32)
    if array.dtype.kind in "iu":
        if len(array) and (int(array.min()) < 0 or int(array.max()) > 2**31):
            wrong = array.min() if int(array.min()) < 0 else array.max()
            raise HypermnesiaError(f"{where}: a label is {wrong}; expected class ids from 0 on")
        return array.astype(np.int64)
    if array.dtype.kind in "OUT" and all(isinstance(value, str) for value in array.tolist()):
        return array.astype(object)
    whole = (
        bool(np.all(array == np.rint(array)))
        if array.dtype.kind == "f"
        else array.dtype.kind in "bO" and all(isinstance(value, int) for value in array.tolist())
    )
    raise HypermnesiaError(
        f"{where}: labels are {array.dtype}, expected integers or strings"
        + ("; pass y.astype(int)" if whole else "")
        + ('; task="regression" tells numbers' if array.dtype.kind == "f" else "")
    )


def _numbered(
    labels: Sequence[np.ndarray], where: Sequence[str]
) -> tuple[list[np.ndarray], list[str] | None]:
    """Labels as class ids, and the names of classes that are told by strings: sorted, as train has them."""
    texts = [array.dtype == object for array in labels]
    if not any(texts):
        return list(labels), None
    if not all(texts):
        raise HypermnesiaError(
            f"{where[0]} and {where[1]}: labels are strings in one and integers in the other"
        )
    names = sorted(set(labels[0].tolist()))
    ids = {name: i for i, name in enumerate(names)}
    for array, place in zip(labels[1:], where[1:], strict=True):
        if unknown := [name for name in array.tolist() if name not in ids]:
            raise HypermnesiaError(f"{place}: class {unknown[0]!r} is not in train")
    return [np.array([ids[name] for name in array.tolist()], dtype=np.int64) for array in labels], names


def _classes_of(data: Any, labels: Sequence[np.ndarray]) -> list[str] | None:
    """The names that torchvision's data sets keep in `classes`, if there are enough of them."""
    names = getattr(data, "classes", None)
    most = max((int(array.max()) for array in labels if len(array)), default=-1)
    if isinstance(names, list | tuple) and len(names) > most and all(isinstance(name, str) for name in names):
        return list(names)
    return None


def _read(data: Any, where: str, size: int | None, task: Targets) -> tuple[Tensor | list[bytes], np.ndarray]:
    """Every pair of a map-style data set, read once in its order."""
    samples, labels, held = [], [], 0
    for i in counted(range(len(data)), f"reading {where}"):
        pair = data[i]
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise HypermnesiaError(
                f"{where}: data[{i}] is {type(pair).__name__}, expected a pair (sample, label). Also taken: {_KNOWN}"
            )
        sample = _sample(pair[0], f"{where}, sample {i}", size)
        if samples and not isinstance(sample, bytes):
            _check_alike(sample, samples[0], f"{where}, sample {i}")
        held += len(sample) if isinstance(sample, bytes) else sample.nbytes
        if held > MAX_BYTES:
            raise HypermnesiaError(
                f"{where}: the first {i} samples need more than the {MAX_BYTES / 2**30:.0f} GiB allowed"
            )
        samples.append(sample)
        labels.append(
            pair[1].item() if isinstance(pair[1], Tensor | np.generic) and pair[1].ndim == 0 else pair[1]
        )
    if not samples:
        raise HypermnesiaError(f"{where}: there are no samples")
    whole = samples if isinstance(samples[0], bytes) else torch.stack(samples)
    return whole, _labels(labels, where, task)


def _check_alike(sample: Any, first: Any, where: str) -> None:
    kinds = [
        "text" if isinstance(value, bytes) else f"{value.dtype} {tuple(value.shape)}"
        for value in (sample, first)
    ]
    if kinds[0] != kinds[1]:
        raise HypermnesiaError(
            f"{where} is {kinds[0]}, sample 0 is {kinds[1]}; expected one shape and dtype: let the data set's transform "
            "bring all to one"
        )


def _sample(value: Any, where: str, size: int | None) -> Tensor | bytes:
    """One sample: a PIL image as uint8 (C, H, W), a text in UTF-8, or a tensor."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Image.Image):
        array = pixels(value, value.mode in GRAY, size)
        return (
            torch.from_numpy(array.copy()).unsqueeze(0)
            if array.ndim == 2
            else torch.from_numpy(array.transpose(2, 0, 1).copy())
        )
    try:
        x = value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise HypermnesiaError(
            f"{where} is {type(value).__name__}, expected an image, numbers or a text"
        ) from error
    if x.ndim == 2 and x.dtype == torch.uint8:
        return x.unsqueeze(0)
    if x.ndim == 1:
        return x.to(torch.float32) if x.is_floating_point() else x.to(torch.int64)
    return _bytes(x, where) if x.ndim == 3 and x.is_floating_point() else x


def _bytes(x: Tensor, where: str) -> Tensor:
    """uint8 of an image that `ToTensor` has divided by 255, which loses nothing."""
    scaled = x.double() * 255
    whole = scaled.round()
    if not bool(((scaled - whole).abs() < 1e-3).all()) or float(whole.min()) < 0 or float(whole.max()) > 255:
        raise HypermnesiaError(
            f"{where} is a float image that is no byte / 255; expected uint8, or what ToTensor makes of it: leave out "
            "Normalize (stream.normalize does the same) and random transforms"
        )
    return whole.to(torch.uint8)
