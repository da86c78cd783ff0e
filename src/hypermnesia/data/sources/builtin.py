"""Sources that need no download: scikit-learn's handwritten digits and diabetes, and docstrings of Python's own standard library.

The docstrings are real English prose about ten subjects, in every Python. Each Python version has texts of its own, so
figures can be compared within one version only; the stream's checksum tells versions apart.
"""

import ast
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data.sources.cache import cached
from hypermnesia.data.sources.source import Images, Source
from hypermnesia.data.sources.stratify import hold_out
from hypermnesia.data.sources.text import TextForm, tokenise

TEST_SHARE = 0.2


def read_digits(size: int | None) -> Source:
    """1,797 digits of 8 × 8 pixels (Alpaydin & Kaynak 1998), brought from 0..16 to 0..255; see `load_digits`.

    About a fifth of each class is the test part (1,438 train, 359 test), cut by a fixed seed: the same in
    every run. With `size` the images are scaled (antialiased bilinear) to `size` × `size` pixels.
    """

    def build() -> Source:
        from sklearn.datasets import load_digits  # takes most of a second, which the cache saves

        digits, labels = load_digits(return_X_y=True)
        pixels = np.rint(np.asarray(digits) * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
        x, y = torch.from_numpy(pixels), torch.from_numpy(np.asarray(labels, dtype=np.int64))
        if size is not None:
            x = F.interpolate(x.float(), (size, size), mode="bilinear", antialias=True)
            x = x.round().clamp(0, 255).to(torch.uint8)
        kept, held = hold_out(y, TEST_SHARE, generator(0, "digits"))
        names = tuple(str(digit) for digit in range(10))
        return Source("digits", Images(x[kept], y[kept]), Images(x[held], y[held]), names)

    return cached("digits", {"scikit-learn": version("scikit-learn"), "size": size}, build)


def read_diabetes() -> Source:
    """442 patients: ten numbers taken at the start (age first) and how far the disease had gone a year later, 25 to 346
    (Efron et al. 2004, doi:10.1214/009053604000000067); see `load_diabetes`. A fifth is the test part, cut by a fixed seed.
    """
    from sklearn.datasets import load_diabetes

    features, target = load_diabetes(return_X_y=True, scaled=False)
    x, y = (torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in (features, target))
    kept, held = hold_out(y, TEST_SHARE, generator(0, "diabetes"))
    return Source("diabetes", Images(x[kept], y[kept]), Images(x[held], y[held]), ("progression",))


MODULES = {
    "asyncio": "asyncio",
    "decimal": "_pydecimal.py",
    "email": "email",
    "http": "http",
    "importlib": "importlib",
    "logging": "logging",
    "mailbox": "mailbox.py",
    "multiprocessing": "multiprocessing",
    "unittest": "unittest",
    "xml": "xml",
}
"""Class → its file or folder in the standard library: the ten with most docstrings that every installation has."""
FEWEST_WORDS = 4


def read_docstrings(form: TextForm) -> Source:
    """The docstrings of modules, classes and functions, labelled with the module they are in.

    Those of fewer than four words, and those that occur in several places, are left out. About a fifth of each class is
    the test part, cut by a fixed seed. Nothing is imported: the library's sources are parsed.
    """

    def build() -> Source:
        library = Path(sysconfig.get_paths()["stdlib"])
        found = [
            (text, label) for label, where in enumerate(MODULES.values()) for text in _docs(library / where)
        ]
        times = Counter(text for text, _ in found)
        once = [(text, label) for text, label in found if times[text] == 1]
        y = torch.tensor([label for _, label in once], dtype=torch.int64)
        missing = [name for label, name in enumerate(MODULES) if int((y == label).sum()) < 2]
        if missing:
            raise HypermnesiaError(
                f"docstrings: this Python has no sources of its standard library for {', '.join(missing)} (looked in "
                f"{library}); take texts of your own: folder:PATH or parquet:PATH"
            )
        x = tokenise([text.encode() for text, _ in once], lambda i: f"docstring {once[i][0][:40]!r}", form)
        kept, held = hold_out(y, TEST_SHARE, generator(0, "docstrings"))
        return Source("docstrings", Images(x[kept], y[kept]), Images(x[held], y[held]), tuple(MODULES))

    return cached(
        "docstrings", {"python": sys.version, "length": form.length, "vocabulary": form.vocabulary}, build
    )


def _docs(path: Path) -> Iterator[str]:
    """The docstrings in a file, or in the files of a folder, in a fixed order."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path] if path.is_file() else []
    for file in files:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(re.findall(r"\w+", text)) >= FEWEST_WORDS:
                    yield text
