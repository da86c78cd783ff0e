"""The fields of configuration dataclasses: the one place that looks at annotations, defaults, docstrings."""

import ast
import inspect
import textwrap
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from types import NoneType
from typing import TYPE_CHECKING, TypeAlias, get_args, get_type_hints

from hypermnesia.config.values import is_union

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Section: TypeAlias = DataclassInstance | type[DataclassInstance]


@dataclass(frozen=True)
class Field:
    """One field of a section."""

    hint: object
    """Its declared type."""
    default: object
    """Its value if nothing is said, or `dataclasses.MISSING`."""
    finite: bool
    """Whether NaN and infinite numbers are refused: unless its metadata says `{"finite": False}`."""
    section: "Section | None"
    """For a field that holds options of its own: what they are filled into."""
    optional: bool
    """Whether it may be None."""


def fields_of(section: "Section") -> dict[str, Field]:
    """The fields of a frozen dataclass by name. Of an instance, its values are the defaults."""
    cls = section if isinstance(section, type) else type(section)
    if not is_dataclass(cls):
        raise TypeError(f"a section of the configuration is a dataclass, not {section!r}")
    hints = get_type_hints(cls)
    found = {}
    for field in fields(cls):
        if not field.init:
            continue
        if not isinstance(section, type):
            default = getattr(section, field.name)
        else:
            default = field.default if field.default_factory is MISSING else field.default_factory()
        hint = hints[field.name]
        found[field.name] = Field(
            hint=hint,
            default=default,
            finite=field.metadata.get("finite", True),
            section=_section(hint, default),
            optional=hint is NoneType or (is_union(hint) and NoneType in get_args(hint)),
        )
    return found


def _section(hint: object, default: object) -> "Section | None":
    if is_dataclass(default):
        return default
    types = [arg for arg in (get_args(hint) if is_union(hint) else (hint,)) if is_dataclass(arg)]
    return types[0] if len(types) == 1 else None


@cache
def docs_of(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a dataclass and of those it inherits from, each as one line.

    They are read from the source, so a class without one (made in an interactive session, say) has none.
    """
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not is_dataclass(base):
            continue
        try:
            source = textwrap.dedent(inspect.getsource(base))
        except OSError:
            continue
        definition = ast.parse(source).body[0]
        assert isinstance(definition, ast.ClassDef)
        for field, below in pairwise(definition.body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs
