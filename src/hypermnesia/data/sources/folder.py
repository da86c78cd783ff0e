"""Sources in folders of images or texts, one sub-folder for each class."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

import numpy as np

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import files_below
from hypermnesia.data.sources.cache import cached, fingerprint
from hypermnesia.data.sources.decode import RawSamples, build_source
from hypermnesia.data.sources.source import Source
from hypermnesia.data.sources.text import TextForm

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pbm", ".tif", ".tiff")
TEXT_SUFFIXES = (".txt", ".md", ".rst")
TEST_FOLDERS = ("test", "val", "valid", "validation")


def read_folder(name: str, path: Path, size: int | None, text: TextForm) -> Source:
    """The source in folder `path`: PATH/CLASS/..., or PATH/train/CLASS/... with PATH/test/CLASS/...

    Classes are numbered in the order of their folders' names. A folder that holds no image at all is one of
    texts. Files without a known suffix and hidden ones do not count; deeper folders do. Without test/ (or val/)
    the test part is cut as `build_source` says.
    Raises `HypermnesiaError` for a folder that does not exist or has fewer than two classes.
    """
    if not path.is_dir():
        raise HypermnesiaError(f"folder {str(path)!r}: no such folder")
    train, test = path, None
    if (path / "train").is_dir():
        train = path / "train"
        test = next((path / part for part in TEST_FOLDERS if (path / part).is_dir()), None)
    names = _subfolders(train)
    if len(names) < 2:
        found = f"one class only ({names[0]})" if names else "no sub-folder"
        raise HypermnesiaError(
            f"folder {str(train)!r} has {found}; expected at least two, one for each class"
        )
    texts = not holds_images(path) and any(_with_suffix(path, TEXT_SUFFIXES))
    files = {part: _files(part, names, texts) for part in (train, test) if part is not None}

    def records(part: Path) -> RawSamples:
        labels = [names.index(file.relative_to(part).parts[0]) for file in files[part]]
        return RawSamples(files[part], np.array(labels, dtype=np.int64), texts=texts)

    def build() -> Source:
        return build_source(name, records(train), None if test is None else records(test), names, size, text)

    key = {str(part.relative_to(path)): fingerprint(found, path) for part, found in files.items()}
    return cached(name, {"folder": key, "size": size, "text": astuple(text)}, build)


def holds_images(path: Path) -> bool:
    """Whether `read_folder` would find images in it."""
    return path.is_dir() and any(_with_suffix(path, SUFFIXES))


def files_in(paths: Sequence[Path], texts: bool) -> list[Path]:
    """The files themselves and, of folders, all images (or texts) below them, in the order of their paths.

    Raises `HypermnesiaError` for a folder that has none.
    """
    found = []
    for path in paths:
        suffixes = TEXT_SUFFIXES if texts else SUFFIXES
        within = sorted(_with_suffix(path, suffixes)) if path.is_dir() else [path]
        if not within:
            raise HypermnesiaError(
                f"folder {str(path)!r} has no {'text' if texts else 'image'}; expected files ending in {', '.join(suffixes)}"
            )
        found += within
    return found


def by_class(path: Path, texts: bool) -> dict[str, list[Path]]:
    """class → its files, of a folder with a sub-folder for each class. Raises `HypermnesiaError` for one without."""
    names = _subfolders(path) if path.is_dir() else []
    if not names:
        raise HypermnesiaError(f"{path}: expected a folder with a sub-folder for each class")
    return {name: files_in([path / name], texts) for name in names}


def _subfolders(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _with_suffix(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files below `path` with one of these suffixes, hidden ones left out."""
    files = (file for file in files_below(path) if file.suffix.lower() in suffixes)
    return (file for file in files if not file.name.startswith(".") and file.is_file())


def _files(part: Path, names: list[str], texts: bool) -> list[Path]:
    """The images or texts of all classes, ordered by class and path."""
    foreign = [name for name in _subfolders(part) if name not in names]
    if foreign:
        raise HypermnesiaError(
            f"folder {str(part)!r} has class {foreign[0]!r}, which train has not; expected {', '.join(names)}"
        )
    found = []
    for name in names:
        suffixes = TEXT_SUFFIXES if texts else SUFFIXES
        files = sorted(_with_suffix(part / name, suffixes))
        if not files:
            raise HypermnesiaError(
                f"folder {str(part / name)!r} has no {'text' if texts else 'image'}; expected files ending in "
                + ", ".join(suffixes)
            )
        found.extend(files)
    return found
