"""What SECURITY.md promises and no other test looks at."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract import TINY
from faults import hostile
from running import Said, files_below

import hypermnesia

SOURCE = Path(hypermnesia.__file__).parent
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUNNING = {"eval", "exec", "torch.load", "np.load", "numpy.load", "os.system", "yaml.load"}
SECRETS = {
    "WANDB_API_KEY": "k" * 39 + "1",
    "MLFLOW_TRACKING_PASSWORD": "hush-4711",
    "HF_TOKEN": "hf_secret4711",
}


def used(tree: ast.AST) -> Iterator[str]:
    """The modules that code imports and the dotted names that it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def test_no_code_unpickles_or_evaluates() -> None:
    files = list(SOURCE.rglob("*.py"))
    assert len(files) > 100
    for path in files:
        found = set(used(ast.parse(path.read_text(encoding="utf-8")))) & (UNPICKLING | RUNNING)
        assert not found, f"{path} uses {found}"


def test_the_check_above_sees_what_it_looks_for() -> None:
    assert {"pickle", "torch.load"} <= set(used(ast.parse("import pickle\ntorch.load(f)")))


def test_keys_of_trackers_are_nowhere(
    command: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the screen, in no file of the run, not in its report."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "o"
    said = [command("run", "split-digits", "finetune", *TINY, "--track", "csv", "--out", out)]
    said.append(command("report", out, "-o", tmp_path / "report.html"))
    assert [done.code for done in said] == [0, 0]
    everything = "".join(done.out + done.err for done in said).encode() + b"".join(
        files_below(tmp_path).values()
    )
    assert b"config_sha256" in everything
    for value in SECRETS.values():
        assert value.encode() not in everything


def test_names_of_classes_lead_nowhere(command: Callable[..., Said], tmp_path: Path) -> None:
    """A class may be called like a path or a script: it is shown, and names no file."""
    names = ("<script>alert(1)<", "a;..b")
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "data" / name / f"{i}.png").write_bytes(hostile.GOOD[0])
    out, page = tmp_path / "o", tmp_path / "report.html"
    words = ("finetune", *TINY[3:], "stream.tasks=2", "stream.classes_per_task=1")
    assert command("run", f"folder:{tmp_path / 'data'}", *words, "--out", out).code == 0
    before = set(files_below(tmp_path))
    done = command("export", out, "--task", "1")
    assert done.code == 0, done
    assert command("report", out, "-o", page).code == 0
    new = set(files_below(tmp_path)) - before
    assert new and all(name == "report.html" or name.startswith("o/seed-0/export/") for name in new)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and names[0] not in text
