"""Docstrings of Python's own standard library: the source of texts that needs no download.

Real English prose about ten subjects, in every Python. Each Python version has texts of its own, so figures can be
compared within one version only; the stream's checksum tells versions apart.
"""

import ast
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch

from hypermnesia.errors import HypermnesiaError
from hypermnesia.rng import generator
from hypermnesia.streams.cache import cached
from hypermnesia.streams.choose import hold_out
from hypermnesia.streams.digits import TEST_SHARE
from hypermnesia.streams.source import Images, Source
from hypermnesia.streams.text import TextForm, tokenise

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
