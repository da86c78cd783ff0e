"""A file imports only from lower layers; within a layer, only what stands before it. See the table below."""

import ast
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "hypermnesia"
NAME = "hypermnesia"

LAYERS: dict[str, tuple[str, ...]] = {  # the modules and packages right below hypermnesia
    "L0": ("errors", "checks", "shortage", "tensors", "rng", "config", "varied"),
    "L1": ("streams", "nets", "hyper", "memory", "metrics"),
    "L2": ("events", "optim", "method", "combined", "replay", "trial", "weights", "generative"),
    "L3": ("methods", "infer", "evaluate"),
    "L4": (
        "finite",
        "nested",
        "graph",
        "packing",
        "order",
        "batches",
        "training",
        "records",
        "stepping",
        "fit",
        "stack",
        "checkpoint",
        "portrait",
    ),
    "L5": (
        "recipes",
        "approaches",
        "base",
        "layering",
        "experiment",
        "seeds",
        "environment",
        "eventlog",
        "results",
        "stopping",
        "rundir",
        "course",
        "continued",
        "runs",
        "learn",
    ),
    "R": ("report",),
    "L6": (
        *("track", "sweep", "compare", "reproduce", "export", "predict"),
        *("pasted", "tables", "listing", "display", "arguments", "sweep_command", "cli", "__main__"),
    ),
}
PLACES = {unit: place for place, unit in enumerate(chain.from_iterable(LAYERS.values()))}
LAYER_OF = {unit: layer for layer, units in LAYERS.items() for unit in units}
REPORT_MAY = {"errors", "config", "metrics"}  # all else that a report needs stands in the run directory


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


def unit_of(path: str) -> str:
    """The module or package right below hypermnesia that a file belongs to."""
    return Path(path).parts[0].removesuffix(".py")


def fault(path: str, imported: str) -> str | None:
    """What is wrong with a file's importing `imported`, or None."""
    unit, _, rest = imported.removeprefix(f"{NAME}.").partition(".")
    if path == "__init__.py" or imported == f"{NAME}.__version__":
        return None
    mine = unit_of(path)
    if unit not in PLACES:
        return f"{path} ({LAYER_OF[mine]}) imports {unit}, which has no layer"
    if unit == mine:
        sibling = rest.partition(".")[0]
        if mine != "methods" or path == "methods/__init__.py" or sibling.startswith("_"):
            return None
        return f"{path} (L3) imports methods.{sibling} (L3): no method imports another"
    said = f"{path} ({LAYER_OF[mine]}) imports {unit} ({LAYER_OF[unit]})"
    if LAYER_OF[unit] == LAYER_OF[mine] == "L1":
        return f"{said}: the parts of L1 do not know each other"
    if mine == "report" and unit not in REPORT_MAY:
        return f"{said}: report reads run directories only"
    if unit == "methods" and LAYER_OF[mine] in ("L3", "L4"):
        return f"{said}: the driver knows the protocol, never a concrete method"
    return said if PLACES[unit] > PLACES[mine] else None


def faults(files: Mapping[str, str]) -> list[str]:
    """Every import in `files` (path relative to the package → source) that the layers forbid."""
    found = []
    for path, source in sorted(files.items()):
        if unit_of(path) not in PLACES and path != "__init__.py":
            found.append(f"{path} has no layer; give {unit_of(path)} its place in tests/test_layers.py")
            continue
        for imported in imports(path, source):
            if imported.split(".")[0] == NAME and (said := fault(path, imported)):
                found.append(said)
            if imported.split(".")[0] == "torch" and unit_of(path) in {"report", *REPORT_MAY}:
                found.append(f"{path} imports torch: the report and what it uses never do")
    return found


def test_the_package_keeps_its_layers():
    files = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    assert "errors.py" in files
    assert faults(files) == []


def test_allowed_imports():
    assert not faults(
        {
            "__init__.py": "from hypermnesia.fit import fit",
            "tensors.py": "from .errors import HypermnesiaError\nimport torch",
            "streams/split.py": "from . import source\nfrom ..rng import derive",
            "methods/__init__.py": "from hypermnesia.methods.er import ER",
            "methods/er.py": "from . import _blocks\nfrom hypermnesia import replay",
            "experiment.py": "from hypermnesia import __version__, recipes\nimport hypermnesia.methods.drift",
            "report/page.py": "import jinja2\nfrom hypermnesia.errors import HypermnesiaError",
            "cli.py": "def report():\n    from hypermnesia.report import write",
        }
    )


def test_forbidden_imports_are_named():
    said = faults(
        {
            "brandnew.py": "",
            "hyper/heads.py": "from hypermnesia.nets.mlp import MLP",
            "evaluate.py": "from hypermnesia.methods.er import ER",
            "fit.py": "import hypermnesia.cli",
            "methods/derpp.py": "def f():\n    from ..methods import er",
            "methods/er.py": "from hypermnesia import fit",
            "optim.py": "from .method import Method",
            "report/page.py": "import torch.nn\nfrom hypermnesia.memory import Memory",
            "rng.py": "from hypermnesia import memoize",
        }
    )
    assert said == [
        "brandnew.py has no layer; give brandnew its place in tests/test_layers.py",
        "evaluate.py (L3) imports methods (L3): the driver knows the protocol, never a concrete method",
        "fit.py (L4) imports cli (L6)",
        "hyper/heads.py (L1) imports nets (L1): the parts of L1 do not know each other",
        "methods/derpp.py (L3) imports methods.er (L3): no method imports another",
        "methods/er.py (L3) imports fit (L4)",
        "optim.py (L2) imports method (L2)",
        "report/page.py imports torch: the report and what it uses never do",
        "report/page.py (R) imports memory (L1): report reads run directories only",
        "rng.py (L0) imports memoize, which has no layer",
    ]
