"""Sources in NumPy's .npz files."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data.sources.decode import MAX_BYTES
from hypermnesia.data.sources.given import from_arrays
from hypermnesia.data.sources.source import Source, Targets
from hypermnesia.data.sources.text import TextForm

NAMES = (
    ("train_x", "train_y", "test_x", "test_y"),
    ("x_train", "y_train", "x_test", "y_test"),
    ("x", "y", "test_x", "test_y"),
    ("X", "y", "X_test", "y_test"),
)
"""What the arrays may be called: samples and labels, those of a test part where there is one."""


def read_npz(
    name: str, path: Path, size: int | None, text: TextForm, task: Targets = "classification"
) -> Source:
    """The source in `path`, whose arrays are as `from_arrays` takes them; an array `class_names` names integer labels.

    Nothing is unpickled. Raises `HypermnesiaError` for a file that is missing, damaged or too large.
    """
    try:
        _check_size(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        MemoryError,
        RuntimeError,  # an encrypted one, or a compression that this Python does not have
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise HypermnesiaError(
            f"{path}: cannot be read as .npz ({said}); expected what np.savez writes of arrays of numbers or strings"
        ) from error
    chosen = next((names for names in NAMES if set(names[:2]) <= arrays.keys()), None)
    if chosen is None:
        forms = " or ".join(", ".join(names[:2]) for names in NAMES)
        raise HypermnesiaError(
            f"{path}: it holds the arrays {', '.join(sorted(arrays)) or 'none'}; expected {forms}"
        )
    x, y, test_x, test_y = (arrays.get(key) for key in chosen)
    names = arrays.get("class_names")
    return from_arrays(
        x,
        y,
        test_x,
        test_y,
        class_names=None if names is None else [str(n) for n in names.ravel()],
        text=text,
        task=task,
        name=name,
    )


def _check_size(path: Path) -> None:
    """Raise for arrays that claim more than `MAX_BYTES`, before any is allocated."""
    claimed = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                version = np.lib.format.read_magic(file)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(file)
            claimed += int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if claimed > MAX_BYTES:
        raise HypermnesiaError(
            f"{path}: its arrays have {claimed / 2**30:.1f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB allowed"
        )
