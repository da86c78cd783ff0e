"""A frozen body's features in place of a batch's input: what the body says of the same samples, in the same order."""

from typing import Any

import pytest
import torch
from small import all_of, conv, run, source

from hypermnesia.data import Preprocess, split
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.methods.combine import combine
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.stacked import together
from hypermnesia.weights.options import Partial

HELD = combine(Finetune(), Drift(beta=0.1, look_ahead="sgd"))


def made(
    flip: bool = False, crop: int = 0, jitter: float = 0.0, steps: int = 20, method: Any = HELD, **train: Any
) -> Fit:
    """24 samples a task, of which each step sees 4."""
    preprocess = Preprocess((0.5,), (0.5,), crop=crop, flip=flip, jitter=jitter)
    stream = split(source(6), tasks=3, preprocess=preprocess)
    options = TrainOptions(iterations=steps, batch_size=4, threads=1, **train)
    end = EvaluateOptions(every="end")
    return run(
        stream, Partial(cut="mid", embedding_init="previous"), method, options, net=conv, evaluation=end
    )


def passes(fit: Fit) -> list[int]:
    """Train it; the samples in each pass of the body, in the order of the passes."""
    sizes: list[int] = []
    body = fit.learner.model.target.get_submodule("stem")
    body.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    for _ in fit:
        pass
    return sizes


@pytest.mark.parametrize("flip", [False, True])
def test_training_is_the_same_but_for_rounding(flip: bool) -> None:
    kept, plain = made(flip), made(flip, keep_features=False)
    seen, whole = passes(kept), passes(plain)
    for name, value in plain.learner.model.stored().items():
        torch.testing.assert_close(kept.learner.model.stored()[name], value, rtol=1e-4, atol=1e-5)
    steps = 20 * 2 * 4  # of the second and third task
    assert sum(whole) - sum(seen) == steps - 2 * (24 * (1 + flip) + 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 1},
        {"jitter": 0.2},
        {"steps": 8},
        {"flip": True, "steps": 17},
        {"method": ER(memory=MemoryOptions(size=8, batch_size=4))},
    ],
    ids=[
        "cropped",
        "brighter or darker",
        "hardly more than one pass",
        "or two views of each",
        "a method that reads inputs",
    ],
)
def test_features_are_not_kept_where_they_do_not_serve(settings: dict[str, Any]) -> None:
    kept, plain = made(**settings), made(**settings, keep_features=False)
    assert passes(kept) == passes(plain)
    for name, value in plain.learner.model.stored().items():
        assert torch.equal(kept.learner.model.stored()[name], value)


def test_stacked_runs_keep_theirs() -> None:
    def one(seed: int, **train: Any) -> Fit:
        options = TrainOptions(iterations=20, batch_size=4, threads=1, **train)
        return run(None, Partial(cut="layer"), Finetune(), options, seed=seed)

    stack, alone = [one(0), one(1)], one(1, keep_features=False)
    all_of([alone])
    list(together(stack))
    for name, value in alone.learner.model.stored().items():
        torch.testing.assert_close(stack[1].learner.model.stored()[name], value, rtol=1e-4, atol=1e-5)


def test_the_body_sees_an_image_once_however_many_tasks_are_looked_for() -> None:
    fit = made(steps=2)
    for _ in fit:
        pass
    answered = fit.learner
    sizes: list[int] = []
    answered.model.target.get_submodule("stem").register_forward_pre_hook(
        lambda _, x: sizes.append(len(x[0]))
    )
    assert answered.inference is not None
    x = answered.preprocess(fit.stream.tests[0].batch(torch.arange(3))[0], None)
    with torch.no_grad():
        answered.model.eval()
        overlays = answered.overlays()
        guess = answered.inference.scores(answered.inference_state, answered, overlays, x)
        assert sizes == [3]
        logits = torch.stack([answered.model.call(o, x, t) for t, o in enumerate(overlays)])
    uncertainty = torch.special.entr(logits.softmax(-1)).sum(-1)
    assert torch.equal(guess.guess, uncertainty.argmin(0))
