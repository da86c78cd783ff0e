"""Short names for variants of one approach, and configuration trees as dotted keys with secrets taken out."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

_NOT_A_SETTING = re.compile(r"(^|\.)(seeds?|out|device|data_dir|track|resume)(\.|$)|seed$")
_SECRET_KEY = re.compile(r"(api_?key|token|secret|passw(or)?d|credential)s?$", re.IGNORECASE)
_SECRET_LINE = re.compile(
    r"""^(\s*["']?[\w.-]*?(?:api_?key|token|secret|passw(?:or)?d|credential)s?["']?\s*=\s*)\S.*$""",
    re.IGNORECASE | re.MULTILINE,
)
_URL_LOGIN = re.compile(r"(://)[^/\s@]+@")
_HIDDEN = "(hidden)"
_LONGEST_VALUE = 24
_MOST_KEYS = 3
_CHOICES = {
    "weights.kind": "weights",
    "net.name": "net",
    "generator.name": "generator",
    "infer.name": "infer",
}
"""Settings that bring others with them, and what they are called on the command line."""


def redact(text: str) -> str:
    """TOML text without the values of keys that look secret and without logins in addresses."""
    return _URL_LOGIN.sub(rf"\1{_HIDDEN}@", _SECRET_LINE.sub(rf'\1"{_HIDDEN}"', text))


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """{"train": {"lr": 0.1}} -> {"train.lr": "0.1"}; lists stay whole; secrets are hidden."""
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif _SECRET_KEY.search(key):
            flat[f"{prefix}{key}"] = _HIDDEN
        else:
            flat[f"{prefix}{key}"] = _URL_LOGIN.sub(rf"\1{_HIDDEN}@", _shown(value))
    return flat


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return "null" if value is None else str(value)


def labels(approaches: Sequence[str], settings: Sequence[Mapping[str, str]]) -> list[str]:
    """One distinct label for each group of a benchmark.

    An approach that occurs once keeps its name. Variants add the settings in which they differ, "phn
    (cut=layer1)", or the one choice that brought the rest, "er (weights=mask)"; when that does not tell them apart (no
    configuration was read, or too many keys) they are
    numbered.
    """
    times = Counter(approaches)
    named = []
    for approach, own in zip(approaches, settings, strict=True):
        family = [other for name, other in zip(approaches, settings, strict=True) if name == approach]
        varied = _varied(family) if times[approach] > 1 else []
        choice = next((key for key in _CHOICES if key in varied and _tells_apart(key, family)), None)
        varied = [choice] if choice else varied
        shown = [f"{_short(key, varied)}={_clip(own.get(key, 'absent'))}" for key in varied[:_MOST_KEYS]]
        shown += ["…"] if len(varied) > _MOST_KEYS else []
        named.append(f"{approach} ({', '.join(shown)})" if shown else approach)
    repeated, number = Counter(named), Counter[str]()
    for position, label in enumerate(named):
        if repeated[label] > 1:
            number[label] += 1
            named[position] = f"{label} #{number[label]}"
    return named


def _varied(family: Sequence[Mapping[str, str]]) -> list[str]:
    keys = dict.fromkeys(key for own in family for key in own if not _NOT_A_SETTING.search(key))
    return [key for key in keys if len({own.get(key) for own in family}) > 1]


def _tells_apart(key: str, family: Sequence[Mapping[str, str]]) -> bool:
    return len({own.get(key) for own in family}) == len(family)


def _short(key: str, varied: Sequence[str]) -> str:
    if key in _CHOICES:
        return _CHOICES[key]
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in varied) == 1 else key


def _clip(value: str) -> str:
    return value if len(value) <= _LONGEST_VALUE else value[: _LONGEST_VALUE - 1] + "…"
