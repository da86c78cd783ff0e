"""Regular expressions that take a number of steps in proportion to the text, however it was made.

What makes them quadratic is seen in the expression itself: two unbounded repeats that can divide the same characters
between them in many ways, or a repeat that runs on over the very lines at which the search begins anew.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from re import _constants as c  # pyright: ignore[reportAttributeAccessIssue]
from re import _parser as parser  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any

import pytest

SOURCE = Path(__file__).parents[2] / "src"
REPEATS = (c.MAX_REPEAT, c.MIN_REPEAT)
SINGLE = (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN)
CHARACTERS = [chr(code) for code in range(128)]


def patterns() -> Iterator[tuple[str, str, int]]:
    """(file and line, expression, flags) of every constant that is handed to a function of `re`."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(r"re\.[a-z]+", ast.unparse(node.func)):
                try:
                    pattern = eval(ast.unparse(node.args[0]), {})  # a constant, or constants added up
                except NameError:
                    continue  # put together from others
                flags = [ast.unparse(value) for value in [*node.args[1:], *(k.value for k in node.keywords)]]
                known = eval(" | ".join(["0", *(f for f in flags if f.startswith("re."))]), {"re": re})
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", pattern, int(known)


def first(items: Sequence[Any]) -> set[str]:
    """The characters that a match may begin with."""
    found: set[str] = set()
    for operation, value in items:
        if operation in SINGLE:
            one = re._compiler.compile(parser.SubPattern(parser.State(), [(operation, value)]))  # pyright: ignore[reportAttributeAccessIssue]
            return found | {character for character in CHARACTERS if one.fullmatch(character)}
        if operation is c.SUBPATTERN:
            return found | first(value[3])
        if operation is c.BRANCH:
            return found.union(*(first(branch) for branch in value[1]))
        if operation in REPEATS:
            found |= first(value[2])
            if value[0] > 0:
                return found
    return found


def faults(pattern: str, flags: int) -> list[str]:
    """What makes the expression quadratic."""
    found = []

    def walk(items: Sequence[Any], running: set[str]) -> set[str]:
        """`running`: characters of unbounded repeats that nothing certain has followed yet."""
        for operation, value in items:
            if operation is c.AT and value is c.AT_BEGINNING and flags & re.MULTILINE:
                running = {"\n"}
            elif operation in REPEATS:
                least, most, inner = value
                begins, ends = first(inner), walk(inner, running if most == 1 else set())
                if most is c.MAXREPEAT:
                    if both := begins & (running | ends):
                        found.append(f"{sorted(both)[:3]} may belong to either of two repeats")
                    ends |= begins if len(inner) == 1 and inner[0][0] in SINGLE else set()
                running = running | ends if least == 0 else ends
            elif operation is c.SUBPATTERN:
                running = walk(value[3], running)
            elif operation is c.BRANCH:
                running = set().union(*(walk(branch, running) for branch in value[1]))
            elif operation is not c.AT:
                running = set()
        return running

    walk(parser.parse(pattern, flags), set())
    return found


@pytest.mark.parametrize(("where", "pattern", "flags"), list(patterns()))
def test_no_expression_is_quadratic(where: str, pattern: str, flags: int):
    assert faults(pattern, flags) == []


def test_what_was_quadratic_is_seen():
    assert faults(r"^(\s*key\s*=)", re.MULTILINE)
    assert faults(r"\]\s*,?\s*\[", 0)
    assert faults(r"(a+)*b", 0)
    assert not faults(r"^([ \t]*key[ \t]*=)", re.MULTILINE)
    assert not faults(r"\]\s*(?:,\s*)?\[", 0)
