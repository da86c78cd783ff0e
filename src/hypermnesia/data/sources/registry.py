"""Sources by name: the known data sets, and a user's own."""

from dataclasses import dataclass
from pathlib import Path

from hypermnesia.core.errors import unknown
from hypermnesia.data.sources.builtin import read_digits, read_docstrings
from hypermnesia.data.sources.folder import read_folder
from hypermnesia.data.sources.hub import read_hub
from hypermnesia.data.sources.parquet import read_parquet
from hypermnesia.data.sources.source import Source
from hypermnesia.data.sources.text import TextForm

HUB = {
    "mnist": "ylecun/mnist",
    "fashion-mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
    "tiny-imagenet": "zh-plus/tiny-imagenet",
}
"""Data sets that lie in `data_dir/NAME/*.parquet`, and their repositories on the Hugging Face hub."""
PREFIXES = {"folder": "folder:PATH", "parquet": "parquet:PATH", "hub": "hub:OWNER/NAME"}


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
    name: str, *, data_dir: Path | None = None, size: int | None = None, text: TextForm | None = None
) -> Source:
    """The source called `name`: "digits", "docstrings", a key of `HUB`, or one of `PREFIXES`.

    A known data set is read from `data_dir/NAME/*.parquet` if such files are there, else from the hub. `size`
    brings images to size × size pixels; texts are brought to `text`. Raises `HypermnesiaError` for what is
    missing, damaged or too large.
    """
    user, text = user_source(name), text or TextForm()
    if user is not None:
        if user.kind == "hub":
            return read_hub(name, user.where, size, text)
        reader = read_folder if user.kind == "folder" else read_parquet
        return reader(name, Path(user.where).expanduser(), size, text)
    if name == "digits":
        return read_digits(size)
    if name == "docstrings":
        return read_docstrings(text)
    if name not in HUB:
        raise unknown("source", name, ["digits", "docstrings", *HUB, *PREFIXES.values()])
    if data_dir is None:
        return read_hub(name, HUB[name], size, text, "no data directory was given (--data-dir), and ")
    path = data_dir / name
    if path.is_dir() and any(path.glob("*.parquet")):
        return read_parquet(name, path, size, text)
    return read_hub(name, HUB[name], size, text, f"there is no {path}/*.parquet, and ")
