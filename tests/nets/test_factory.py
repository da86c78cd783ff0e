import sys
from pathlib import Path

import pytest
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.nets import from_factory

SHAPE = (1, 4, 4)

SOURCE = """
from math import prod

from torch import nn

WIDTH = 5


def build(shape, outputs):
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(shape), outputs))


class Net(nn.Flatten):
    def __init__(self, shape, outputs):
        super().__init__()
        self.outputs = outputs


def number(shape, outputs):
    return outputs


def broken(shape, outputs):
    return shape[3]


def no_outputs(shape):
    return nn.Flatten()
"""


@pytest.fixture(autouse=True)
def user_modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "users_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "nets.py").write_text(SOURCE)
    (package / "needy.py").write_text("import a_module_that_nobody_has\n")
    (package / "failing.py").write_text("raise RuntimeError('no licence')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "users_package"]:
        del sys.modules[name]


def test_a_function():
    net = from_factory("python:users_package.nets:build", SHAPE, 3)
    assert net(torch.zeros(2, *SHAPE)).shape == (2, 3)
    assert {name for name in sys.modules if name.startswith("users_package")} == {
        "users_package",
        "users_package.nets",
    }


def test_a_class():
    assert from_factory("python:users_package.nets:Net", SHAPE, 3).outputs == 3


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("users_package.nets:build", r"expected python:package\.module:factory, such as"),
        ("python:users_package.nets", r"expected python:package\.module:factory"),
        ("python::build", r"expected python:package\.module:factory"),
        (
            "python:users_pakage.nets:build",
            r"there is no module 'users_pakage'\. Install its package, or put its folder",
        ),
        ("python:users_package.nts:build", r"there is no module 'users_package\.nts'\."),
        (
            "python:users_package.needy:build",
            r"importing 'users_package\.needy' raised ModuleNotFoundError: No module na",
        ),
        (
            "python:users_package.failing:build",
            r"importing 'users_package\.failing' raised RuntimeError: no licence",
        ),
        (
            "python:users_package.nets:bild",
            r"'users_package\.nets' has no 'bild'; it has: Net, broken, build, no_outputs",
        ),
        (
            "python:users_package.nets:WIDTH",
            r"'WIDTH' is of type int, expected a function or a class that takes \(shape",
        ),
        ("python:users_package.nets:number", r"the factory returned int, expected a torch\.nn\.Module"),
        (
            "python:users_package.nets:broken",
            r"factory\(\(1, 4, 4\), 3\) raised IndexError: tuple index out of range\. It",
        ),
        (
            "python:users_package.nets:no_outputs",
            r"raised TypeError: .* It is called with the samples' shape, \(channels, height",
        ),
    ],
)
def test_bad_references(reference: str, text: str):
    with pytest.raises(HypermnesiaError, match=text) as caught:
        from_factory(reference, SHAPE, 3)
    assert str(caught.value).startswith(f"net={reference}: ")


def test_a_file_where_the_command_is_given_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lies_here.py").write_text(SOURCE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert from_factory("python:lies_here:build", SHAPE, 3)(torch.zeros(2, *SHAPE)).shape == (2, 3)
