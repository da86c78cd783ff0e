"""Sources by name: the known data sets, and a user's own."""

from dataclasses import dataclass
from pathlib import Path

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.files import expanded, with_suffix
from hypermnesia.data.sources.builtin import read_diabetes, read_digits, read_docstrings
from hypermnesia.data.sources.csv import read_csv
from hypermnesia.data.sources.folder import read_folder
from hypermnesia.data.sources.given import Data, from_arrays
from hypermnesia.data.sources.hub import read_hub
from hypermnesia.data.sources.npz import read_npz
from hypermnesia.data.sources.parquet import read_parquet
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm

HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "tiny-imagenet": "zh-plus/tiny-imagenet",
}
"""Data sets that lie in `data_dir/NAME/*.parquet`, and their repositories on the Hugging Face hub."""
PREFIXES = {
    "folder": "folder:PATH",
    "folders": "folders:PATH",
    "parquet": "parquet:PATH",
    "csv": "csv:PATH",
    "npz": "npz:PATH",
    "hub": "hub:OWNER/NAME",
}
READERS = {"folder": read_folder, "parquet": read_parquet, "csv": read_csv, "npz": read_npz}
"""What reads a user's own files: (name, path, size, text) → source; csv and npz also take what is told of a sample."""


@dataclass(frozen=True)
class UserSource:
    """A user's own source: `kind` is a key of `PREFIXES`, `where` a path or a repository."""

    kind: str
    where: str


def user_source(name: str) -> UserSource | None:
    """What `name` means if it is one of `PREFIXES`, else None."""
    kind, colon, where = name.partition(":")
    return UserSource(kind, where) if colon and where and kind in PREFIXES else None


def open_source(
    name: str,
    *,
    data_dir: str | Path | None = None,
    size: int | None = None,
    text: TextForm | None = None,
    task: Targets | None = None,
) -> Source:
    """The source called `name`: "digits", "docstrings", "diabetes", a key of `HUB`, or one of `PREFIXES`.

    A known data set is read from `data_dir/NAME/*.parquet` if such files are there, else from the hub. `size`
    brings images to size × size pixels; texts are brought to `text`. `task="regression"`: the labels of a CSV or .npz file
    are numbers. Raises `HypermnesiaError` for what is missing, damaged or too large.
    """
    user, text = user_source(name), text or TextForm()
    told = (task,) if task == "regression" else ()
    if told and (user is None or user.kind not in ("csv", "npz")):
        raise HypermnesiaError(
            f"{name}: task=regression reads numbers from csv:PATH or npz:PATH, and in Python from "
            'hm.from_arrays(x, y, task="regression")'
        )
    if user is not None:
        if user.kind == "hub":
            return read_hub(name, user.where, size, text)
        if user.kind == "folders":
            raise HypermnesiaError(
                f"{name}: these are several tasks, each a source; hm.load makes their stream"
            )
        return READERS[user.kind](name, expanded(user.where), size, text, *told)
    if name == "digits":
        return read_digits(size)
    if name == "diabetes":
        return read_diabetes()
    if name == "docstrings":
        return read_docstrings(text)
    if name not in HUB:
        raise unknown("source", name, ["digits", "docstrings", "diabetes", *HUB, *PREFIXES.values()])
    if data_dir is None:
        return read_hub(name, HUB[name], size, text, "no data directory was given (--data-dir), and ")
    path = Path(data_dir) / name
    if with_suffix(path, ".parquet"):
        return read_parquet(name, path, size, text)
    return read_hub(name, HUB[name], size, text, f"there is no {path}/*.parquet, and ")


def source_of(
    data: Data | Source | str | Path,
    test: Data = None,
    *,
    size: int | None = None,
    text: TextForm | None = None,
    task: Targets | None = None,
) -> Source:
    """`data` as a source: a source itself, a name that `open_source` knows, or what `from_arrays` takes.

    `test`: the test part of data that are at hand. `size`, `text`: as in `open_source`, for what is not decoded yet;
    `task`: whether its labels are classes or numbers.
    """
    if isinstance(data, str | Path | Source) and test is not None:
        raise HypermnesiaError(
            f"test= is for data that are at hand; {type(data).__name__} brings its own test part"
        )
    if isinstance(data, Source):
        return data
    if isinstance(data, str | Path):
        return open_source(str(data), size=size, text=text, task=task)
    return from_arrays(data, test_x=test, size=size, text=text, task=task or "classification")
