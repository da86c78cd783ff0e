"""A checkpoint belongs to its run: among the files of another one it is refused, and the files of another one beside it."""

import shutil
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.test_storage import half_done
from running import read

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs import bound, recorder
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, restored, resume
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def half(directory: Path) -> Path:
    half_done(directory / "seed-0")
    return directory / "seed-0"


def other(directory: Path, seed: int = 0, *words: str) -> Path:
    """Another run that was stopped at its seventh step."""
    said = words_of(BY_NAME["er"], "checkpoint.every=0", *words)

    def stop(event: object) -> None:
        if isinstance(event, StepDone) and event.total_steps == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(resolve("split-digits", "er", said), seed, Place(directory), stop)
    return directory


def refused(directory: Path, why: str) -> None:
    for act in (resume, restored):
        with pytest.raises(HypermnesiaError, match=f"belongs to another run than the files beside it: {why}"):
            act(directory)


def test_the_checkpoints_of_another_seed_are_refused(half: Path, directory: Path) -> None:
    shutil.rmtree(half / "checkpoint")
    shutil.copytree(other(directory / "other", seed=1) / "checkpoint", half / "checkpoint")
    refused(half, "seed 1, not 0")


@pytest.mark.parametrize(
    ("section", "old", "new", "why"),
    [
        ("memory]", "size = 12", "size = 11", "configuration "),
        ("[seeds]", 'order = "none"', "order = 7", "other seeds "),
    ],
)
def test_an_edited_configuration_is_refused(half: Path, section: str, old: str, new: str, why: str) -> None:
    text = (half / "config.toml").read_text()
    before, section, after = text.partition(section)
    assert old in after
    (half / "config.toml").write_text(before + section + after.replace(old, new, 1))
    refused(half, why)


def test_a_comment_in_the_configuration_is_told(half: Path, capsys: Capture) -> None:
    with (half / "config.toml").open("a") as file:
        file.write("\n# mine\n")
    resume(half)
    assert (
        "config.toml changed since the checkpoint was written, in nothing that decides"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"seed": 0', '"seed": 1', "seed 0, not 1"),
        ('"sealed": false', '"sealed": true', "validation parts only"),
    ],
)
def test_an_edited_environment_is_refused(half: Path, old: str, new: str, why: str) -> None:
    path = half / "environment.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    if "sealed" in old:
        with pytest.raises(HypermnesiaError):
            resume(half)
    with pytest.raises(HypermnesiaError, match=why):
        restored(half)


def test_an_edited_outline_is_refused(half: Path) -> None:
    path = half / "stream.json"
    path.write_text(path.read_text().replace('"0"', '"zero"', 1))
    refused(half, "stream.json ")


def test_other_versions_are_told_and_it_goes_on(
    half: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bound, "versions", lambda: {"hypermnesia": "9.0", "torch": "1.0"})
    resume(half)
    said = capsys.readouterr().err
    assert "the checkpoint was made with hypermnesia " in said and "(now 9.0), torch " in said
    assert said.count("may round differently") == 1


def test_checkpoints_that_are_bound_to_nothing_are_read(half: Path, capsys: Capture) -> None:
    """As version 0.1 wrote them."""
    for path in (half / "checkpoint").glob("*.json"):
        tensors, form, extra = checkpoint.read(path)
        steps, task = (int(part) for part in path.stem.split("-"))
        checkpoint.write(path.parent, steps, task, tensors, form, {"events": extra["events"]}, keep=True)
    resume(half)
    assert read(half / "result.json")["seed"] == 0 and recorder.EVENTS not in capsys.readouterr().err
