"""The search space: which settings a search varies, and over what.

A word is a setting with several values, or with a range:

- `drift.beta=0.01,0.1,1`, `net=mlp,lenet`, `net.hidden=[100,100],[400,400]`: one of these
- `optimizer.lr=uniform(0,0.1)`: a number between the two
- `drift.beta=log(1e-4,1)`: the same, uniform in its logarithm
- `train.batch_size=int(16,256)`: a whole number, both ends included

A word with a single value fixes that setting for every trial.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, cast

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.experiments import config
from hypermnesia.experiments.config.words import write_value

Kind = Literal["uniform", "log", "int"]
KINDS: tuple[Kind, ...] = ("uniform", "log", "int")
_CALL = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\((.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Any, ...]
    """At least two, all different."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as they stand in words."""
        return tuple(write_value(value) for value in self.values)

    def __str__(self) -> str:
        return ",".join(self.texts)


@dataclass(frozen=True)
class Range:
    """Any number between two, both included."""

    kind: Kind
    low: float
    """An int if `kind` is; above 0 if it is log; below `high`."""
    high: float

    def __str__(self) -> str:
        return f"{self.kind}({self.low!r},{self.high!r})"


Dimension = Choice | Range
Space = Mapping[str, Dimension]
"""Setting → what it is chosen from; in the order of the words."""
Settings = dict[str, Any]
"""One point of a space: setting → plain value."""


def parse_space(words: Iterable[str]) -> tuple[dict[str, Dimension], list[str]]:
    """What varies, and the words that fix a setting. Whether a setting exists is not asked here.

    Raises `HypermnesiaError` for words that are none, for a setting given twice, for values that occur twice, and
    for ranges that are empty, run backwards, or do not suit their kind.
    """
    space: dict[str, Dimension] = {}
    fixed: dict[str, str] = {}
    for word in words:
        parts = config.split_variants(word)
        key, _, text = parts[0].partition("=")
        if key in space or key in fixed:
            raise HypermnesiaError(f"{key} is given twice; give it once, with all its values")
        ranges = [part for part in parts if _CALL.fullmatch(part.partition("=")[2])]
        if ranges and len(parts) > 1:
            raise HypermnesiaError(f"{word!r}: a range stands alone; give either it or single values")
        if ranges:
            space[key] = _range(word, text)
        elif len(parts) > 1:
            space[key] = _choice(word, key, parts)
        else:
            config.parse_words(parts)
            fixed[key] = word
    return space, list(fixed.values())


def published_words(search: Mapping[str, Sequence[Any]]) -> list[str]:
    """The words of a published grid, as recipes hold it: setting → list of values (or one range as text)."""
    return [f"{key}={','.join(_published(value) for value in values)}" for key, values in search.items()]


def size(space: Space) -> int | None:
    """How many points a grid over the space has; None with a range in it."""
    if any(isinstance(dimension, Range) for dimension in space.values()):
        return None
    return math.prod(len(dimension.values) for dimension in space.values() if isinstance(dimension, Choice))


def grid_point(space: Space, number: int) -> Settings:
    """Point `number` (0 ≤ number < `size`) of the grid over a space without ranges; the last setting varies fastest."""
    settings: Settings = {}
    for key, dimension in reversed(list(space.items())):
        assert isinstance(dimension, Choice)
        number, position = divmod(number, len(dimension.values))
        settings[key] = dimension.values[position]
    return {key: settings[key] for key in space}


def corners(space: Space, most: int = 256) -> list[Settings]:
    """Points at which every value and every end of a range occurs: to find bad ones before anything starts.

    All combinations where these are at most `most`, else each value with the first ones of the other settings.
    """
    ends = {key: _ends(dimension) for key, dimension in space.items()}
    if math.prod(map(len, ends.values())) <= most:
        return [dict(zip(ends, values, strict=True)) for values in product(*ends.values())]
    first = {key: values[0] for key, values in ends.items()}
    return [first] + [first | {key: value} for key, values in ends.items() for value in values[1:]]


def setting_words(settings: Mapping[str, Any]) -> list[str]:
    """A point as the words that set it."""
    return [f"{key}={write_value(value)}" for key, value in settings.items()]


def _ends(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)


def _published(value: Any) -> str:
    return value if isinstance(value, str) and _CALL.fullmatch(value) else write_value(value)


def _choice(word: str, key: str, parts: Sequence[str]) -> Choice:
    values = [config.parse_words([part])[key] for part in parts]
    texts = [write_value(value) for value in values]
    twice = [text for text in texts if texts.count(text) > 1]
    if twice:
        raise HypermnesiaError(f"{word!r}: {twice[0]} occurs twice")
    return Choice(tuple(values))


def _range(word: str, text: str) -> Range:
    called = _CALL.fullmatch(text)
    assert called is not None
    kind, inside = called.groups()
    if kind not in KINDS:
        raise unknown(f"kind of range in {word!r}:", kind, KINDS)
    given = [end.strip() for end in inside.split(",")]
    try:
        low, high = (int(end) if kind == "int" else float(end) for end in given)
    except ValueError:
        what = "whole numbers" if kind == "int" else "numbers"
        raise HypermnesiaError(f"{word!r}: {kind}(LOW,HIGH) takes two {what}") from None
    if not (math.isfinite(low) and math.isfinite(high)):
        raise HypermnesiaError(f"{word!r}: the ends of a range must be finite")
    if kind == "log" and low <= 0:
        raise HypermnesiaError(f"{word!r}: log starts above 0, not at {low:g}; 0 has no logarithm")
    if low == high:
        raise HypermnesiaError(f"{word!r}: the range is empty; write {word.partition('=')[0]}={given[0]}")
    if low > high:
        raise HypermnesiaError(f"{word!r}: the range runs backwards; write {kind}({given[1]},{given[0]})")
    return Range(cast(Kind, kind), low, high)
