"""The power goes off at any moment: what had been synced is there, the rest or a part of it, and the run goes on."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from contract import BY_NAME, words_of
from faults.comparing import differences
from faults.shim import Disk

from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.runs.execute import execute_seeds

Tell = Callable[[str], None]


def config(approach: str) -> Config:
    return resolve("split-digits", approach, words_of(BY_NAME[approach], "checkpoint.every=0"))


def cuts(directory: Path, approach: str, count: int, stacked: bool, seed: int = 0) -> list[str]:
    """What differs after a run was cut so many times, each at another moment, and begun again with the same command.

    One cut in three comes before the first checkpoint.
    """
    cfg, rng, faults = config(approach), random.Random(f"{seed} {approach}"), []
    seeds, how = ([0, 1, 2], "on") if stacked else ([0], "off")
    plain = directory / "plain" / "o"
    disk = Disk(plain.parent)
    plain.parent.mkdir()
    with disk.recorded():
        execute_seeds(cfg, seeds, plain, stacked=how)
    made = next(i for i, (deed, _, to) in enumerate(disk.deeds) if deed == "rename" and to.suffix == ".json")
    for number in range(count):
        at = rng.randrange(made) if number % 3 == 0 else rng.randrange(made, len(disk.deeds) + 1)
        image = directory / f"cut-{number}"
        disk.after_a_cut(at, rng, image)
        try:
            execute_seeds(cfg, seeds, image / "o", stacked=how)
        except Exception as error:
            faults.append(f"cut after deed {at}: {type(error).__name__}: {error}")
            continue
        faults += [f"cut after deed {at}: {text}" for text in differences(plain, image / "o")]
        shutil.rmtree(image)
    shutil.rmtree(plain.parent)
    return faults


@pytest.mark.parametrize(
    ("approach", "count", "stacked"), [("hnet", 3, False), ("er", 9, False), ("er", 6, True)]
)
def test_a_few_cuts(directory: Path, approach: str, count: int, stacked: bool) -> None:
    """The short form of the next test."""
    assert cuts(directory, approach, count, stacked) == []


@pytest.mark.slow
def test_hundreds_of_cuts(directory: Path, tell: Tell) -> None:
    faults: list[str] = []
    for approach in BY_NAME:
        faults += cuts(directory, approach, 12, stacked=False)
    for approach in ("finetune", "hnet", "er", "ewc"):
        faults += cuts(directory, approach, 12, stacked=True)
    tell(
        f"{12 * (len(BY_NAME) + 4)} power cuts over {len(BY_NAME)} approaches: {len(faults)} differing results"
    )
    assert faults == []
