"""The errors that a user can mend. Whatever else escapes is a defect of ours and keeps its traceback."""

from collections.abc import Iterable
from difflib import get_close_matches


class HypermnesiaError(Exception):
    """Bad input: the text says what was called, what arrived, what was expected and what to do.

    The command line prints the text alone and exits with `exit_code`.
    """

    exit_code = 2


class RunFailed(HypermnesiaError):
    """A run that began well and could not go on, such as one whose loss became NaN."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str]) -> HypermnesiaError:
    """The error for a name that does not exist. It suggests the nearest known name and lists all of them.

    `kind` is a noun for the text ("benchmark", "approach"). Returned, not raised: `raise unknown(...)`.
    """
    choices = sorted(known)
    by_lower = {choice.lower(): choice for choice in reversed(choices)}
    nearest = get_close_matches(name.lower(), by_lower, n=1)
    hint = f"; did you mean {by_lower[nearest[0]]!r}?" if nearest else ";"
    listed = ", ".join(choices) if choices else "none"
    return HypermnesiaError(f"unknown {kind} {name!r}{hint} known: {listed}")
