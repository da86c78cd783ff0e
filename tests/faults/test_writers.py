"""Every place that writes a file is known here, so that a new one is thought of: what becomes of it in a power cut."""

import ast
from pathlib import Path

import hypermnesia

SOURCE = Path(hypermnesia.__file__).parent
KNOWN = {
    "core/files.py": "all that is replaced or made to last",
    "core/locks.py": "a note of who has a directory, worth nothing when the power is gone",
    "training/events.py": "the log, held against its mark in the checkpoint",
    "runs/results.py": "a counter of the kernel's",
    "runs/trackers/csv.py": "written anew from the log when a run goes on",
    "runs/trackers/mlflow.py": "mlflow's own run goes on, or another one begins",
    "report/page.py": "a report, made again by the same command",
    "sweep/work.py": "a traceback for people",
    "sweep/trials.py": "files that a worker sent, which it sends again",
    "sweep/engines/local.py": "what workers print",
    "sweep/storage.py": "the journal's torn last line is cut",
    "commands/new.py": "a method's first lines, written again by the same command",
    "data/sources/cache.py": "decoded images, decoded again",
}
"""Files that write, and why they may."""


def writes(tree: ast.AST) -> bool:
    """Whether code opens a file for writing, or writes one whole."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in ("write_text", "write_bytes", "save_file"):
            return True
        modes = [
            arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
        ]
        if name == "open" and any(set(mode) <= set("rwaxbt+") and set(mode) & set("wax+") for mode in modes):
            return True
    return False


def test_every_writer_is_known() -> None:
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if writes(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found <= set(KNOWN), f"what becomes of these in a power cut? {sorted(found - set(KNOWN))}"
    assert {"core/files.py", "training/events.py"} <= found


def test_the_check_above_sees_what_it_looks_for() -> None:
    for code in ('open(p, "wb")', 'p.open("a")', 'p.write_text("x")'):
        assert writes(ast.parse(code))
    assert not writes(ast.parse('open(p, "rb"); open("w.txt")'))
