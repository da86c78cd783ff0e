"""The package as others get it: what its wheel holds, what importing it costs, and which names it shows."""

import ast
import os
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import hypermnesia

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"


def python(code: str, path: Path = SOURCE) -> str:
    """What `code` prints in a process of its own, with `path` the first that modules are looked for in."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    [built] = directory.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel):
    expected = {
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "hypermnesia").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected
    assert "hypermnesia/py.typed" in held
    for package, data in [("experiments/recipes", ".toml"), ("report", ".html.j2")]:
        assert any(name.startswith(f"hypermnesia/{package}/") and name.endswith(data) for name in held)


def test_the_wheel_says_what_it_is(wheel):
    archive = zipfile.ZipFile(wheel)
    info = f"hypermnesia-{hypermnesia.__version__}.dist-info"
    assert wheel.name == f"hypermnesia-{hypermnesia.__version__}-py3-none-any.whl"
    assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert b"hypermnesia = hypermnesia.commands.app:main" in archive.read(f"{info}/entry_points.txt")
    metadata = archive.read(f"{info}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Requires-Python: >=3.11" in metadata


def test_the_wheel_alone_can_be_imported(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import hypermnesia; print(hypermnesia.__version__, hypermnesia.__file__)"
    version, file = python(code, tmp_path).split()
    assert version == hypermnesia.__version__
    assert file.startswith(str(tmp_path))


def test_importing_the_package_imports_nothing_of_it():
    code = (
        "import sys, hypermnesia; print(*(m for m in sys.modules if m.startswith(('hypermnesia', 'torch'))))"
    )
    assert python(code) == "hypermnesia\n"


def test_help_imports_no_heavy_library():
    code = """
import sys
sys.argv = ["hypermnesia", "--help"]
from hypermnesia.commands.app import main
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
heavy = {"torch", "numpy", "scipy", "sklearn", "pyarrow", "PIL", "pydantic", "matplotlib", "jinja2"}
print("\\nimported:", *heavy.intersection(sys.modules))
"""
    shown, _, imported = python(code).partition("imported:")
    assert "Usage" in shown
    assert imported.split() == []


def homes() -> dict[str, str]:
    """Public name → the module that the stub takes it from."""
    stub = ast.parse((SOURCE / "hypermnesia" / "__init__.pyi").read_text("utf-8"))
    nodes = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    assert all(alias.asname == alias.name for node in nodes for alias in node.names)
    return {alias.name: f"hypermnesia.{node.module}" for node in nodes for alias in node.names}


def test_public_names_stand_in_the_stub():
    assert sorted(hypermnesia.__all__) == sorted(homes())


@pytest.mark.parametrize("name", sorted(homes()))
def test_public_names_are_what_they_are_at_home(name):
    assert getattr(hypermnesia, name) is getattr(import_module(homes()[name]), name)
    assert not isinstance(getattr(hypermnesia, name), ModuleType)
    assert name in dir(hypermnesia)


def test_other_names_do_not_exist():
    with pytest.raises(AttributeError, match="No hypermnesia attribute nothing"):
        hypermnesia.nothing  # noqa: B018 (looking it up is the test)
