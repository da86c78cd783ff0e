"""Parts that are chosen by name: the package's own, and a user's as `python:package.module:Name`."""

import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar

from hypermnesia.core.errors import HypermnesiaError, unknown

PREFIX = "python:"
PART = {"part": True}
"""Metadata of a field that holds the options of a part, where there is one, and is no option itself."""
T = TypeVar("T")
_refused_for: list[tuple[str, Collection[str]]] = []
"""Why no code may be imported now, but for what, by the blocks of `refusing` that are open; of all threads."""


class Untrusted(HypermnesiaError):
    """Code that is named by somebody who is not trusted."""


@contextlib.contextmanager
def refusing(reason: str, but: Collection[str] = ()) -> Iterator[None]:
    """Import no code that is named within the block, `but` these: `imported` raises `Untrusted`, with the reason."""
    _refused_for.append((reason, but))
    try:
        yield
    finally:
        _refused_for.pop()


class Registry(dict[str, type[T]], Generic[T]):
    """The options of each part of one sort, by the part's name."""

    def __init__(self, title: str, base: type[T], known: Mapping[str, type[T]]) -> None:
        super().__init__(known)
        self.title, self.base = title, base

    def find(self, name: Any) -> type[T]:
        """The options class called `name`, or that `python:package.module:Class` names."""
        if isinstance(name, str) and name.startswith(PREFIX):
            return self._checked(name, imported(f"{self.title}={name}", name))
        if not isinstance(name, str) or name not in self:
            raise unknown(self.title, str(name), self)
        return self[name]

    def name_of(self, options: T) -> str:
        """What `find` finds the class of these options by."""
        kind = type(options)
        own = [name for name, known in self.items() if known is kind]
        return own[0] if own else f"{PREFIX}{kind.__module__}:{kind.__qualname__}"

    def _checked(self, name: str, found: Any) -> type[T]:
        if isinstance(found, type) and issubclass(found, self.base) and is_dataclass(found):
            return found
        raise HypermnesiaError(
            f"{self.title}={name}: expected a dataclass that inherits from {self.base.__module__}."
            f"{self.base.__qualname__}, got {found!r}"
        )


def imported(word: str, reference: str) -> Any:
    """What `python:package.module:Name` names; `word` is how the user said it. Only its module is imported, and
    within `refusing` none."""
    path, colon, name = reference.removeprefix(PREFIX).partition(":")
    if not (reference.startswith(PREFIX) and colon and path and name):
        raise HypermnesiaError(
            f"{word}: expected python:package.module:factory, such as python:my_nets.cnn:build"
        )
    for reason, but in _refused_for:
        if reference not in but:
            raise Untrusted(f"{word}: {reason}")
    if os.getcwd() not in sys.path:
        # last, so that it hides nothing: the user's own file lies where the command is given
        sys.path.append(os.getcwd())
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{path}.".startswith(f"{error.name}."):
            raise HypermnesiaError(
                f"{word}: there is no module {error.name!r}. "
                "Install its package, or put its folder on PYTHONPATH"
            ) from error
        raise HypermnesiaError(f"{word}: importing {path!r} raised {told(error)}") from error
    except Exception as error:
        raise HypermnesiaError(f"{word}: importing {path!r} raised {told(error)}") from error
    found = getattr(module, name, None)
    if found is None:
        public = ", ".join(sorted(n for n, value in vars(module).items() if callable(value) and n[0] != "_"))
        raise HypermnesiaError(f"{word}: {path!r} has no {name!r}; it has: {public or 'nothing callable'}")
    return found


def told(error: Exception) -> str:
    """What an error of a user's code said."""
    return f"{type(error).__name__}: {error}"
