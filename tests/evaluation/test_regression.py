"""Runs that learn numbers: a step, the figures, what is shown, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation import regression
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit

TINY = ("net.hidden=[6]", "train.iterations=4", "train.batch_size=6", "train.threads=1", "stream.tasks=3")
HYPER = ("generator=dense", "generator.hidden=[6]", "generator.embedding=3")
SMALL = dict.fromkeys(("er", "derpp"), ("memory.size=12", "memory.batch_size=6")) | {"hnet": HYPER}


def make(approach: str, *words: str, seed: int = 0) -> Fit:
    return hm.build(hm.resolve("split-diabetes", approach, [*TINY, *SMALL.get(approach, ()), *words]), seed)


def test_one_step_is_plain_least_squares() -> None:
    """ER and DER++ written out, over what they drew."""
    for approach in ("er", "derpp"):
        run = make(approach)
        events = (event for event in run if isinstance(event, StepDone))
        next(events)
        learner, method = run.learner, run.method
        task = run.stream.tasks[0]
        raw, y = task.train.batch(torch.arange(6))
        batch = hm.Batch(learner.preprocess(raw), y, learner.targets(y, 0), 0, raw)
        draw = method.draw(learner.state, learner, batch, torch.Generator().manual_seed(1))
        value, aux = method.loss(hm.Net(learner.model), learner.state, batch, draw)

        def out(x: torch.Tensor) -> torch.Tensor:
            return learner.model(x, 0)[:, 0]  # noqa: B023 (called within the same turn)

        if approach == "er":
            told, wanted = out(torch.cat([batch.x, draw.x])), torch.cat([y, draw.y])
            slow = ((told - wanted) ** 2).sum() / len(wanted)
        else:
            one, two = draw
            slow = ((out(batch.x) - y) ** 2).mean()
            slow = slow + method.alpha * ((out(one.x) - one.logits[:, 0]) ** 2).mean()
            slow = slow + method.beta * ((out(two.x) - two.y) ** 2).mean()
        torch.testing.assert_close(value, slow)
        assert "squared_error" in aux.terms and "cross_entropy" not in aux.terms


def test_the_figures_are_those_of_scikit_learn() -> None:
    run = make("finetune")
    result = hm.Result(run, "diabetes")
    for _ in run:
        pass
    source = hm.open_source("diabetes")
    for i, part in enumerate(run.stream.tests):
        told = result.predict(source.test.x[part.index].numpy(), task=i)
        y = source.test.y[part.index]
        assert result.rows["task"][-1][i] == pytest.approx(r2_score(y, told), abs=1e-5)
        assert run.records.errors[-1][i] == pytest.approx(mean_absolute_error(y, told), rel=1e-5)
    first = [row[0] for row in result.rows["task"]]
    second = [row[1] for row in result.rows["task"]][1:]
    lost = (max(first[:-1]) - first[-1] + max(second[:-1]) - second[-1]) / 2
    assert result.metrics["task"]["forgetting"] == pytest.approx(lost)
    assert result.metrics["task"]["mean_absolute_error"] == pytest.approx(np.mean(run.records.errors[-1]))


def test_r_squared_at_its_ends() -> None:
    y = torch.tensor([1.0, 2.0, 3.0])
    assert regression.r_squared(y, y) == 1
    assert regression.r_squared(torch.full((3,), 2.0), y) == 0
    assert regression.r_squared(-y, y) == -27
    assert regression.r_squared(y, torch.ones(3)) is None


def test_the_fisher_information_is_of_half_the_squared_error() -> None:
    run = make("ewc")
    for event in run:
        if event.__class__.__name__ == "TaskEnded":
            break
    [state] = run.learner.state.penalties
    model, task = run.learner.model, run.stream.tasks[0]
    raw, y = task.train.batch(torch.arange(len(task.train)))
    slow = {name: torch.zeros_like(value) for name, value in model.trainable().items()}
    for x, target in zip(run.learner.preprocess(raw), y, strict=True):
        half = (model(x[None], 0)[0, 0] - target) ** 2 / 2
        for name, g in zip(slow, torch.autograd.grad(half, list(model.trainable().values())), strict=True):
            slow[name] += g**2 / len(y)
    for name, value in slow.items():
        torch.testing.assert_close(state.importance[name], value, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("approach", "words", "told"),
    [
        ("lwf", (), "LwF is for classes, and the targets of this stream are numbers .task=regression.: these are learned by"),
        ("ncm", (), "NCM is for classes"),
        ("er", ("ewc.strength=1", "mas.strength=1"), "the penalty mas is for classes"),
        ("hnet", ("infer=fecam",), "infer=fecam infers the task by classes.*leave infer out, and the task is given"),
        ("hnet", ("infer=ridge", "infer.of=input"), "infer=ridge infers the task by classes"),
        ("hnet", ("infer.calibrate=true",), "infer=entropy infers the task by classes"),
        ("er", ("memory.policy=class-balanced",), "memory.policy=class-balanced goes by classes"),
        ("ewc", ("ewc.fisher=sampled",), "ewc.fisher=sampled is of classes"),
        ("finetune", ("stream.validation=0.2", "train.select=best_validation"), "of numbers there are none"),
    ],
)  # fmt: skip
def test_what_goes_by_classes_is_refused_in_one_message(
    approach: str, words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(HypermnesiaError, match=told):
        make(approach, *words)


def test_on_disk_it_is_shown_asked_and_reported(command, tmp_path: Path) -> None:
    def cli(*words: str) -> str:
        return command(*words).out

    place = tmp_path / "hnet"
    hm.run("split-diabetes", "hnet", [*TINY, *HYPER], out=place, progress=False)
    result = hm.open_run(place)
    told = result.predict(np.zeros((2, 10), dtype=np.float32), task=1)
    assert len(told) == 2 and all(isinstance(value, float) for value in told)
    with pytest.raises(HypermnesiaError, match="the task is not inferred: give task=0 to 2"):
        result.predict(np.zeros((2, 10), dtype=np.float32))
    with pytest.raises(
        HypermnesiaError, match="tells numbers .task=regression., which cannot be learned further"
    ):
        result.learn("digits")
    assert "average R²" in result.summary() and "mean absolute error, in its own units" in result.summary()
    assert "R² task" in repr(result) and "Average R²" in result._repr_html_()
    shown = cli("show", str(place))
    assert "numbers: progression" in shown and "task-incremental: R² in %" in shown and "ccuracy" not in shown
    assert "R² task" in cli("list", "runs", str(tmp_path))
    html = tmp_path / "page.html"
    cli("report", str(place), "-o", str(html))
    text = html.read_text()
    assert "Average R²" in text and "Mean absolute error" in text and "verage accuracy" not in text
    assert "ccurac" not in text.partition("<body>")[2].partition("Configuration and environment</h3>")[0]
