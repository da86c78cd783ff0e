"""TensorBoard's event files, read back by TensorBoard."""

import warnings

import pytest
from runs.trackers.tracked import expected, interrupted, run

pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install 'hypermnesia[track]'")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own imports
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(seed) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(seed / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]}


def by_name(seed) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for name, step, value in expected(seed):
        found.setdefault(name, []).append((step, pytest.approx(value, rel=1e-6)))
    return found


def test_it_says_what_the_log_says(tmp_path):
    seed = run(tmp_path, "tensorboard")
    assert scalars(seed) == by_name(seed)


def test_a_resumed_run_tells_its_story_once(tmp_path):
    interrupted(tmp_path, "tensorboard")
    seed = run(tmp_path, "tensorboard")
    ours, theirs = scalars(seed), by_name(seed)
    assert set(ours) == set(theirs)
    assert ours["loss"] == theirs["loss"]
    assert ours["accuracy/task"] == theirs["accuracy/task"]


def test_the_configuration_is_shown(tmp_path):
    seed = run(tmp_path, "tensorboard")
    found = EventAccumulator(str(seed / "tensorboard")).Reload()
    [tag] = found.Tags()["tensors"]
    assert b"train.iterations | 30" in found.Tensors(tag)[0].tensor_proto.string_val[0]
