"""LUCIR: its three steps per task stand under "What runs"; here are imprinting and its bounds."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import SHAPE, make_batch, make_learner

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.learner import Learner, Net, Phase, Step
from hypermnesia.methods.lucir import LUCIR
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.nets.classifiers import with_classifier
from hypermnesia.nets.mlp import MLPOptions

METHOD = LUCIR(memory=MemoryOptions(size=12, batch_size=5, policy="herding"))


def cosine_learner(task: int = 1) -> Learner:
    net = MLPOptions(hidden=(8,), activation="tanh").build(SHAPE, 6)
    return make_learner(net=with_classifier(net, "cosine", 2.0, 5), task=task)


def test_new_weights_start_at_the_mean_feature_and_old_ones_rest() -> None:
    learner = cosine_learner()
    state = METHOD.begin_task(METHOD.init(learner), learner)
    assert [phase.name for phase in METHOD.phases(learner)] == ["imprint", "train"]
    batch, head = make_batch(learner), learner.model.target.head
    before = head.weight.detach().clone()
    learner.phase = Phase("imprint", trains=False)
    with torch.no_grad():
        for part in (batch, make_batch(learner, seed=1)):
            draw = METHOD.draw(state, learner, part, generator(0))
            state = METHOD.after_step(state, learner, Step(part, draw), generator(0))
    assert torch.equal(head.weight, before)
    learner.phase = Phase()
    METHOD.draw(state, learner, batch, generator(0))
    body = learner.model.target[:2]
    for c in (2, 3):
        own = torch.cat([b.x[b.y == c] for b in (batch, make_batch(learner, seed=1))])
        mean = F.normalize(F.normalize(body(own)).mean(0), dim=0)
        torch.testing.assert_close(head.weight[c], mean * before[:2].norm(dim=1).mean(), rtol=1e-4, atol=1e-6)
    kept = [0, 1, 4, 5]
    assert torch.equal(head.weight[kept], before[kept])
    state = replace(state, old={name: v.clone() for name, v in learner.model.stored().items()})
    draw = METHOD.draw(state, learner, batch, generator(0))
    value, aux = METHOD.loss(Net(learner.model), state, batch, draw)
    value.backward()
    assert head.weight.grad[:2].abs().max() == 0 < head.weight.grad[2:].abs().max()
    assert aux.terms["features"] < 1e-5  # nothing has turned yet
    assert METHOD.after_step(state, learner, Step(batch, draw, aux), generator(0)).sums is None


def test_bad_input() -> None:
    with pytest.raises(
        HypermnesiaError, match=r"^lucir needs a classifier of cosines: set weights\.classifier=cosine$"
    ):
        METHOD.init(make_learner())
    with pytest.raises(HypermnesiaError, match=r"^lucir: memory\.policy=ring must be herding$"):
        LUCIR(memory=MemoryOptions(policy="ring"))
