"""When a memory is filled: after every step, or once a task has ended."""

from dataclasses import replace

import pytest
import torch
from methods.helpers import make_batch, make_learner, make_stream, offer
from methods.regularisation_helpers import make_task

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.methods.base import Method
from hypermnesia.methods.der import DER, DERPP
from hypermnesia.methods.er import ER
from hypermnesia.methods.er_ace import ERACE
from hypermnesia.methods.gdumb import GDumb
from hypermnesia.methods.gss import GSS
from hypermnesia.methods.hcr import HCR
from hypermnesia.methods.mir import MIR
from hypermnesia.methods.replay.rehearsal import MemoryOptions

LATE = MemoryOptions(size=12, batch_size=5, fill="task")


@pytest.mark.parametrize(
    "method", [ER(memory=LATE), ERACE(memory=LATE), DER(memory=LATE), DERPP(memory=LATE)]
)
def test_steps_leave_nothing_and_a_tasks_end_offers_all_of_it(method: Method) -> None:
    learner = make_learner(task=1)
    state = method.begin_task(method.init(learner), learner)
    state = offer(method, state, learner, make_batch(learner))
    assert state.memory.filled == 0
    task = make_task(1, per_class=10)
    state = method.end_task(state, learner, task, generator(3))
    memory = state.memory
    assert (memory.filled, memory.seen, memory.tasks()) == (12, 20, {1: 12})
    raw, y = task.train.batch(torch.arange(20))
    for x, label in zip(memory.x, memory.y, strict=True):
        assert any(torch.equal(x, own) and label == of for own, of in zip(raw, y, strict=True))
    if memory.logits is not None:  # what the finished network says of them, in evaluation mode
        with torch.no_grad():
            expected = learner.model.eval()(learner.preprocess(memory.x, None), 1)
        torch.testing.assert_close(memory.logits, expected)


def test_the_error_names_all_that_can() -> None:
    able = [
        name
        for name, one in APPROACHES.items()
        if getattr(one.method_class(), "fills_at_task_end", False)  # penalties have no memory
    ]
    with pytest.raises(HypermnesiaError) as error:
        GSS(memory=MemoryOptions(policy="greedy", fill="task"))
    assert str(error.value).partition("(")[2].partition(")")[0].split(", ") == able


@pytest.mark.parametrize("kind", [ER, ERACE, DER, DERPP, HCR, MIR])
def test_only_the_end_of_a_task_needs_boundaries(kind: type) -> None:
    assert not kind().needs_boundaries
    assert kind(memory=LATE).needs_boundaries
    kind().check(hidden := replace(make_stream(), boundaries=False))
    with pytest.raises(
        HypermnesiaError, match="which the stream split does not tell: leave memory.fill=step"
    ):
        kind(memory=LATE).check(hidden)


@pytest.mark.parametrize(("kind", "policy"), [(GSS, "greedy"), (GDumb, "class-balanced")])
def test_methods_with_a_choice_of_their_own_say_so(kind: type, policy: str) -> None:
    with pytest.raises(
        HypermnesiaError,
        match=rf"^{kind.__name__.lower()}: memory\.fill=task is for replay that keeps whatever comes by \(er, der, derpp, "
        r"er-ace, mir, hcr\); this method fills its memory in its own way: leave memory\.fill=step$",
    ):
        kind(memory=MemoryOptions(policy=policy, fill="task"))


def test_losses_of_steps_need_steps() -> None:
    with pytest.raises(
        HypermnesiaError,
        match=r"^er: memory\.policy=lars goes by the losses of each step: take memory\.fill=step, or another policy$",
    ):
        ER(memory=MemoryOptions(policy="lars", fill="task"))
