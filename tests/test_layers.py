"""The rooms of the house: a file imports from its own room and from rooms below, and nothing else."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

NAME = "hypermnesia"
PACKAGE = Path(__file__).parents[1] / "src" / NAME

FLOORS = (
    ("core",),
    ("data", "nets"),
    ("weights",),
    ("methods",),
    ("evaluation",),
    ("training", "report"),
    ("experiments",),
    ("runs",),
    ("sweep", "adapters"),
    ("commands",),
    ("__main__",),
)
"""From the ground up. Rooms of one floor do not know each other."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = (
    *("report/", "core/errors.py", "core/files.py", "core/printable.py", "core/units.py", "core/secrets.py"),
    *("evaluation/__init__.py", "evaluation/metrics.py", "evaluation/statistics.py"),
    *("evaluation/schema.py", "evaluation/figures.py", "evaluation/event_lines.py"),
)
"""The report, and all that it imports: reading runs takes no torch."""
METHODS_SHARE = ("base", "combine", "learner", "stages", "replay", "penalties")
"""What a method may import of its own room: no method imports another."""
MOST_LINES = 400


def imports(path: str, source: str) -> Iterator[str]:
    """The dotted names that a file imports, anywhere in it; `from a import b` gives `a.b`, module or not.

    `path` is relative to the package: `methods/er.py`.
    """
    package = (NAME, *Path(path).parts[:-1])
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{module}.{alias.name}" for alias in node.names)


def fault(path: str, imported: str) -> str | None:
    """What is wrong with a file's importing `imported`, or None."""
    room = Path(path).parts[0].removesuffix(".py")
    other, _, rest = imported.removeprefix(f"{NAME}.").partition(".")
    if other not in FLOOR_OF:
        return None if imported == f"{NAME}.__version__" else f"{path} imports {other}, which is no room"
    if other == room:
        sibling = rest.partition(".")[0]
        if room == "methods" and Path(path).parts[1:2] != ("penalties",) and sibling not in METHODS_SHARE:
            return f"{path} imports methods.{sibling}: no method imports another"
        return None
    if path.startswith("report/") and not f"{other}/{rest}".replace(".", "/").startswith(_reports_own()):
        return f"{path} imports {other}.{rest}: report reads run directories only"
    return f"{path} imports {other}: not below it" if FLOOR_OF[other] >= FLOOR_OF[room] else None


def _reports_own() -> tuple[str, ...]:
    return tuple(path.removesuffix(".py") for path in WITHOUT_TORCH)


def faults(files: Mapping[str, str]) -> list[str]:
    """Every import in `files` (path relative to the package → source) that the rooms forbid."""
    found = []
    for path, source in sorted(files.items()):
        if path == "__init__.py":
            continue
        if Path(path).parts[0].removesuffix(".py") not in FLOOR_OF:
            found.append(f"{path} stands in no room; see FLOORS in tests/test_layers.py")
            continue
        for imported in imports(path, source):
            if imported.split(".")[0] == NAME and (said := fault(path, imported)):
                found.append(said)
            if imported.split(".")[0] == "torch" and path.startswith(WITHOUT_TORCH):
                found.append(f"{path} imports torch: the report and what it uses never do")
    return found


def sources() -> dict[str, str]:
    return {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}


def test_the_package_keeps_its_rooms():
    files = sources()
    assert "core/errors.py" in files
    assert faults(files) == []


def test_the_house_is_seen_at_a_glance():
    entries = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert entries - {"__init__.py", "__init__.pyi", "py.typed"} == {*FLOOR_OF, "__main__.py"} - {"__main__"}


def test_no_file_is_longer_than_a_reader_can_hold():
    lengths = {path: source.count("\n") for path, source in sources().items()}
    assert {path: n for path, n in lengths.items() if n > MOST_LINES} == {}


def test_allowed_imports():
    assert not faults(
        {
            "__init__.py": "from hypermnesia.training.fit import fit",
            "core/tensors.py": "from .errors import HypermnesiaError\nimport torch",
            "data/split.py": "from .sources import source\nfrom ..core.rng import derive",
            "methods/er.py": "from .replay import rehearsal\nfrom hypermnesia.methods.base import Method",
            "methods/penalties/drift.py": "from hypermnesia.methods.penalties.quadratic import pull",
            "experiments/build.py": "import hypermnesia.methods.penalties.drift",
            "report/page.py": "import jinja2\nfrom hypermnesia.core.errors import HypermnesiaError",
            "commands/app.py": "def report():\n    from hypermnesia.report import write",
        }
    )


def test_forbidden_imports_are_named():
    said = faults(
        {
            "brandnew.py": "",
            "data/split.py": "from hypermnesia.nets.mlp import MLP",
            "evaluation/evaluate.py": "import hypermnesia.commands.app",
            "methods/der.py": "def f():\n    from ..methods import er",
            "methods/er.py": "from hypermnesia.training import loop",
            "report/page.py": "import torch.nn\nfrom hypermnesia.evaluation.evaluate import evaluate",
            "core/rng.py": "from hypermnesia import memoize",
        }
    )
    assert said == [
        "brandnew.py stands in no room; see FLOORS in tests/test_layers.py",
        "core/rng.py imports memoize, which is no room",
        "data/split.py imports nets: not below it",
        "evaluation/evaluate.py imports commands: not below it",
        "methods/der.py imports methods.er: no method imports another",
        "methods/er.py imports training: not below it",
        "report/page.py imports torch: the report and what it uses never do",
        "report/page.py imports evaluation.evaluate.evaluate: report reads run directories only",
    ]
