"""The errors that a user can mend. Whatever else escapes is a defect of ours and keeps its traceback."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


class HypermnesiaError(Exception):
    """Bad input: the text says what was called, what arrived, what was expected and what to do.

    The command line prints the text alone and exits with `exit_code`.
    """

    exit_code = 2


class NeedsEnvironment(HypermnesiaError):
    """What a process could do that had begun with other variables in its environment."""

    def __init__(self, what: str, variables: Mapping[str, str]) -> None:
        said = " ".join(f"{name}={value}" for name, value in variables.items())
        super().__init__(f"{what}: set {said} before torch is loaded")
        self.variables = variables


class RunFailed(HypermnesiaError):
    """A run that began well and could not go on, such as one whose loss became NaN."""

    exit_code = 3
    of: object = None
    """The run that failed, where several trained together."""
    among: tuple[object, ...] = ()
    """All that failed at this step, where several trained together."""


def refused(error: OSError) -> str:
    """What the operating system refuses, and of which file."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def unknown(kind: str, name: str, known: Iterable[str]) -> HypermnesiaError:
    """The error for a name that does not exist. It suggests the nearest known name, and lists all of them or, of very
    many, those most like it.

    `kind` is a noun for the text ("benchmark", "approach"). Returned, not raised: `raise unknown(...)`.
    """
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in reversed(choices)}
    nearest = [by_lower[found] for found in get_close_matches(name.lower(), by_lower, n=_NEAR)]
    hint = f"; did you mean {nearest[0]!r}?" if nearest else ";"
    shown, more = choices, ""
    if len(choices) > _LISTED:
        shown = nearest or choices[:_NEAR]
        more = f" and {len(choices) - len(shown)} more"
    listed = ", ".join(shown) if shown else "none"
    return HypermnesiaError(f"unknown {kind} {name!r}{hint} known: {listed}{more}")


_LISTED = 60
"""More names than these are not read by anybody."""
_NEAR = 8
