"""Ridge regression on the frozen network names the task, whose adapter then answers."""

from dataclasses import replace

import pytest
import small
import torch

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Part
from hypermnesia.evaluation.infer import RidgeInference
from hypermnesia.methods.closed_form import RanPAC, Ridge
from hypermnesia.runs.continuation import onwards
from hypermnesia.training.events import TaskStarted
from hypermnesia.weights import HeadsOptions
from hypermnesia.weights.options import LoRA, Partial, Plain


def finished(inference: RidgeInference, weights: LoRA | Plain | Partial) -> hm.Fit:
    run = small.run(weights=weights, inference=inference, train=hm.TrainOptions(iterations=40, batch_size=8))
    small.all_of([run])
    return run


@pytest.mark.parametrize("mode", ["class", "task"])
@pytest.mark.parametrize("width", [None, 30])
def test_it_is_ridge_regression_without_adapters(mode: str, width: int | None) -> None:
    run = finished(RidgeInference(mode=mode, width=width), LoRA(written="stored"))  # pyright: ignore[reportArgumentType]
    method = Ridge() if width is None else RanPAC(width=width, strength=1e-3)
    twin = small.run(method=method, train=hm.TrainOptions(iterations=1))
    with torch.no_grad():  # the frozen network of the first run, whatever head it has
        twin.learner.model.target.get_submodule("layer").load_state_dict(
            run.learner.model.target.get_submodule("layer").state_dict()
        )
    small.all_of([twin])
    raw = torch.cat([task.test.batch(torch.arange(len(task.test)))[0] for task in run.stream.tasks])
    found, expected = run.learner.answer(raw), twin.learner.answer(raw)
    assert found.tasks is not None
    alone = run.learner.answer(raw[:1])
    assert (
        alone.tasks is not None and alone.tasks[0] == found.tasks[0] and alone.classes[0] == found.classes[0]
    )
    assert torch.equal(found.tasks, expected.classes // 2), "the task of the class that the ridge says"
    if mode == "class":
        assert torch.equal(found.classes, expected.classes)
    else:
        for task in range(3):
            rows = found.tasks == task
            assert torch.equal(found.classes[rows], run.learner.answer(raw[rows], task).classes)


def test_tokens_are_no_vectors() -> None:
    run = small.run(weights="hyper", inference=RidgeInference(of="input"))
    with pytest.raises(
        HypermnesiaError, match="these are texts, whose tokens are no numbers: take infer=fecam"
    ):
        run.inference.init(replace(run.learner, dtype=torch.int64))


def test_classes_that_are_being_learned_further_are_not_known_yet() -> None:
    run = finished(RidgeInference(mode="class", of="input"), LoRA(written="stored"))
    more = hm.split(small.source(2, seed=3), tasks=1, preprocess=run.stream.preprocess)
    later = onwards(run, more, apart=True)
    for event in later:
        if isinstance(event, TaskStarted):
            raw = more.tasks[0].train.batch(torch.arange(4))[0]
            found = later.learner.answer(raw)
            assert int(found.classes.max()) < 6 and found.scores.shape == (4, 8)
            assert bool((found.scores[:, 6:] == -torch.inf).all())


def test_on_inputs_it_names_the_task_whatever_the_network() -> None:
    """Ridge regression by hand on the pixels of all tasks; a generated network answers."""
    run = small.run(
        weights="hyper", inference=RidgeInference(of="input"), train=hm.TrainOptions(iterations=3)
    )
    small.all_of([run])

    def pixels(part: Part) -> torch.Tensor:
        return run.learner.preprocess(part.batch(torch.arange(len(part)))[0], None).flatten(1).double()

    x = torch.cat([pixels(task.train) for task in run.stream.tasks])
    y = torch.cat([task.train.y for task in run.stream.tasks])
    mean = x.mean(0)
    gram = (x - mean).T @ (x - mean)
    scale = 1e-3 * gram.diagonal().mean() * torch.eye(16, dtype=torch.float64)
    target = torch.nn.functional.one_hot(y).double()
    weight = torch.linalg.solve(gram + scale, (x - mean).T @ (target - target.mean(0)))
    tests = torch.cat([pixels(task.test) for task in run.stream.tasks])
    expected = ((tests - mean) @ weight + target.mean(0)).argmax(1) // 2
    raw = torch.cat([task.test.batch(torch.arange(len(task.test)))[0] for task in run.stream.tasks])
    found = run.learner.answer(raw)
    assert found.tasks is not None
    assert (found.tasks == expected).float().mean() > 0.95
    for task in range(3):
        rows = found.tasks == task
        assert torch.equal(found.classes[rows], run.learner.answer(raw[rows], task).classes)


def test_a_classifier_may_be_generated() -> None:
    run = finished(RidgeInference(), Partial(generator=HeadsOptions(embedding=3, hidden=(5,))))
    row = run.records.rows["class"][-1]
    assert sum(value or 0.0 for value in row) / len(row) > 0.6


def test_before_the_first_tasks_end_it_is_the_first() -> None:
    inference = RidgeInference()
    run = small.run(weights=LoRA(), inference=inference)
    for event in run:
        if isinstance(event, TaskStarted):
            break
    learner = run.learner
    found = inference.scores(learner.inference_state, learner, learner.overlays(), torch.zeros(2, 1, 4, 4))
    assert found.guess.tolist() == [0, 0]


def test_weights_that_move_and_classes_that_return_are_refused() -> None:
    with pytest.raises(HypermnesiaError, match=r"here layer.0.weight does not rest: take weights=lora"):
        small.run(weights=Plain(head="sliced"), inference=RidgeInference())
    with pytest.raises(HypermnesiaError, match="names the task of a class, and here tasks share classes"):
        small.run(small.permuted_stream(), LoRA(), inference=RidgeInference())
