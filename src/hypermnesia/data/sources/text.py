"""Texts to token ids, without a vocabulary: words are hashed.

A vocabulary would have to be built from the first task's texts and would know no word of a later one. Hashing needs
none (Weinberger et al. 2009, arXiv:0902.2206): any word of any task has an id, always the same, and two words share
one with a probability of 1 / vocabulary.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from hypermnesia.core.errors import HypermnesiaError

PADDING = 0
MOST_BYTES = 2**20
"""Of a text that are read."""
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class TextForm:
    """What texts are brought to."""

    length: int = 64
    """Tokens L of a text: what is longer is cut off, what is shorter padded with 0."""
    vocabulary: int = 16384
    """Number of token ids: 0 is padding, words have 1..vocabulary − 1."""


def words(text: str) -> list[str]:
    """The words of a text, in lower case; every other mark is a word by itself."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=2**17)
def token(word: str, vocabulary: int) -> int:
    """The id of a word, 1..vocabulary − 1: the same on every machine and in every version."""
    digest = blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return 1 + int.from_bytes(digest, "little") % (vocabulary - 1)


def tokenise(texts: Sequence[bytes | Path], place: Callable[[int], str], form: TextForm) -> Tensor:
    """int64 (N, L) token ids of texts in UTF-8, given as bytes or as files.

    `place(i)` says where text i came from. Raises `HypermnesiaError`, which names that place, for a text that cannot be
    read, is not UTF-8 or holds no word at all.
    """
    tokens = torch.full((len(texts), form.length), PADDING, dtype=torch.int64)
    for i, text in enumerate(texts):
        found = words(_read(text, place(i)))[: form.length]
        if not found:
            raise HypermnesiaError(f"{place(i)}: the text is empty")
        tokens[i, : len(found)] = torch.tensor([token(word, form.vocabulary) for word in found])
    return tokens


def _read(text: bytes | Path, where: str) -> str:
    """The beginning of a text; a character that the limit cuts in two is dropped."""
    if isinstance(text, Path):
        try:
            with text.open("rb") as file:
                text = file.read(MOST_BYTES)
        except OSError as error:
            raise HypermnesiaError(f"{where}: cannot be read: {error.strerror or error}") from error
    text = text[:MOST_BYTES]
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        if len(text) == MOST_BYTES and error.start >= MOST_BYTES - 3:
            return text[: error.start].decode()
        raise HypermnesiaError(
            f"{where}: the text is no UTF-8 ({error.reason} at byte {error.start})"
        ) from error
