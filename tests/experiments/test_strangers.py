"""Methods and generators of a user's own, by `python:module:Class`."""

from pathlib import Path

import pytest

from hypermnesia.commands.listing import option_table
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import chosen, from_toml, resolve
from hypermnesia.runs.directory import Place, default_directory
from hypermnesia.runs.execute import execute, restored, resume

PARTS = """
from dataclasses import dataclass
import hypermnesia as hm

@dataclass(frozen=True, kw_only=True)
class Mild(hm.Finetune):
    \"\"\"Fine-tuning that is milder.\"\"\"

    mildness: float = 0.5
    \"\"\"How mild.\"\"\"

@dataclass(frozen=True, kw_only=True)
class Doubled(hm.DenseOptions):
    factor: float = 2.0

def function():
    pass
"""
TINY = (
    *("net.hidden=[8]", "stream.samples_per_task=12", "stream.tasks=2", "train.iterations=2"),
    *("evaluate.samples=5", "train.threads=1"),
)


@pytest.fixture(autouse=True)
def _theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "strangers_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_method_and_a_generator_run_resume_and_are_written_down(tmp_path: Path) -> None:
    words = ["mildness=0.25", "weights=hyper", "generator=python:strangers_parts:Doubled", "factor=3.0"]
    cfg = resolve("split-digits", "python:strangers_parts:Mild", [*words, "generator.hidden=[4]", *TINY])
    assert cfg.sections["method"].mildness == 0.25
    assert cfg.sections["weights"].generator.factor == 3.0
    assert chosen(cfg.sections)["weights.generator.name"] == "python:strangers_parts:Doubled"
    assert from_toml(cfg.to_toml()) == cfg
    directory = default_directory(cfg, tmp_path)
    assert directory.name.startswith("python_strangers_parts_Mild-")
    result = execute(cfg, 0, Place(directory / "seed-0"))
    assert resume(directory / "seed-0")["config_sha256"] == result["config_sha256"] == cfg.sha256
    assert type(restored(directory / "seed-0").learner.model.generator).__name__ == "Dense"


def test_their_options_are_listed() -> None:
    [table] = [
        part
        for part in option_table("python:strangers_parts:Mild", "split-digits").renderables
        if hasattr(part, "columns")
    ]
    keys, *_, said = (list(column.cells) for column in table.columns)  # pyright: ignore[reportAttributeAccessIssue]
    assert said[keys.index("method.mildness")] == "How mild."


@pytest.mark.parametrize(
    ("approach", "words", "text"),
    [
        ("python:strangers_parts:function", [], "expected a dataclass that inherits from hypermnesia.Method"),
        ("python:strangers_parts:Mil", [], "'strangers_parts' has no 'Mil'; it has: Doubled, Mild"),
        ("python:no_such_parts:Mild", [], "there is no module 'no_such_parts'"),
        (
            "hnet",
            ["generator=python:strangers_parts:Mild"],
            "generator=python:strangers_parts:Mild: expected a dataclass that inherits from .*GeneratorOptions",
        ),
    ],
)
def test_what_is_no_such_part(approach: str, words: list[str], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        resolve("split-digits", approach, words)
