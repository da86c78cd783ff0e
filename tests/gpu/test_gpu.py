"""What runs on a CPU runs on a GPU: `make gpu`. `GPU_TESTS_ON=cpu` tries the tests themselves where there is none."""

import os
from pathlib import Path

import pytest
import small
import torch
from contract import BY_NAME, ROWS, Row, words_of
from exact import assert_equal_runs

from hypermnesia.experiments.build import build as build_run
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, restored
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.stacked import together

DEVICE = os.environ.get("GPU_TESTS_ON", "cuda")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(DEVICE == "cuda" and not torch.cuda.is_available(), reason="torch sees no GPU"),
]
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.approach)


def made(row: Row, *more: str, seed: int = 0, device: str = DEVICE) -> Fit:
    return build_run(resolve("split-digits", row.approach, words_of(row, *more)), seed, device=device)


def values(run: Fit) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu() for name, value in run.learner.model.stored().items()}


@each_row
def test_it_repeats_and_goes_on_exactly(row: Row, tmp_path: Path) -> None:
    whole, stopped, other = made(row), made(row), made(row)
    small.all_of([whole])
    for event in stopped:
        if isinstance(event, StepDone) and event.total_steps == 5:
            break
    checkpoint.save(stopped, tmp_path)
    assert checkpoint.load(other, tmp_path, pytest.fail) is not None
    small.all_of([other])
    assert_equal_runs(other, whole)


@pytest.mark.parametrize("approach", ["finetune", "er", "hnet", "ewc"])
def test_a_few_steps_are_those_of_a_cpu_but_for_rounding(approach: str) -> None:
    runs = [made(BY_NAME[approach], "train.iterations=1", device=device) for device in (DEVICE, "cpu")]
    small.all_of(runs)
    ours, theirs = map(values, runs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("approach", ["finetune", "er", "hnet"])
def test_stacked_seeds_are_single_ones_but_for_rounding(approach: str) -> None:
    row = BY_NAME[approach]
    stack, alone = [made(row, seed=seed) for seed in range(3)], made(row, seed=2)
    small.all_of([alone])
    list(together(stack))
    for name, value in values(alone).items():
        torch.testing.assert_close(values(stack[2])[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("approach", ["finetune", "hnet"])
def test_compiled_steps_are_eager_ones_but_for_rounding(approach: str) -> None:
    words = ("train.iterations=14", "stream.tasks=1")
    runs = [made(BY_NAME[approach], *words, f"train.compile={on}") for on in ("true", "false")]
    small.all_of(runs)
    ours, theirs = map(values, runs)
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("approach", ["er", "hnet", "ewc"])
def test_a_cpu_answers_as_the_gpu_did(approach: str, tmp_path: Path) -> None:
    config = resolve("split-digits", approach, words_of(BY_NAME[approach]))
    place = Place(tmp_path / "seed-0", device=DEVICE)
    execute(config, 0, place)
    here, there = (restored(place.directory, device) for device in ("cpu", DEVICE))
    raw = torch.zeros(3, *here.learner.shape, dtype=torch.uint8)
    answers = [run.learner.answer(raw.to(run.learner.device), task=1) for run in (here, there)]
    torch.testing.assert_close(answers[0].scores, answers[1].scores.cpu(), rtol=1e-2, atol=1e-3)
