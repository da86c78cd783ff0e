"""Latent replay: loss and memory against the formula written out, and a body that really rests."""

import pytest
import torch
import torch.nn.functional as F
from methods.helpers import assert_same, slow_cross_entropy
from methods.regularisation_helpers import batch_of, learner_on, make_task, move, next_task, small_net
from torch import Tensor, nn

from hypermnesia.core import tensors
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.methods.latent_replay import LatentReplay, LatentState, cut
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.weights.model import Role
from hypermnesia.weights.options import Kind, of_kind
from hypermnesia.weights.outputs import HeadKind

BODY: dict[str, Role] = {"layer.0.weight": "body", "layer.0.bias": "body"}
METHOD = LatentReplay(coefficient=0.7, memory=MemoryOptions(size=12, batch_size=5, policy="class-balanced"))


def on_a_frozen_body(
    head: HeadKind = "shared", tail: Role = "shared", net: nn.Module | None = None
) -> Learner:
    roles = dict(BODY) if net is None else {n: "body" for n, _ in net.named_parameters() if n[:4] != "head"}
    roles |= {"head.weight": tail, "head.bias": tail}
    return learner_on("plain", head=head, roles=roles, net=net)  # pyright: ignore[reportArgumentType]


def learn(method: LatentReplay, learner: Learner, tasks: int) -> LatentState:
    """Move through `tasks` tasks by random steps, remember each, and begin another."""
    state = method.init(learner)
    for task in range(tasks):
        move(learner, seed=task)
        state = method.end_task(state, learner, make_task(task), generator(task))
        next_task(learner)
    return state


def drawn(method: LatentReplay, state: LatentState, learner: Learner, seed: int = 0) -> Replay:
    draw = method.draw(state, learner, batch_of(learner, make_task(learner.task)), generator(seed))
    assert draw is not None
    return draw


def held(state: LatentState) -> Memory:
    assert state.memory is not None
    return state.memory


@pytest.mark.parametrize(
    ("head", "tail"), [("shared", "shared"), ("sliced", "shared"), ("per_task", "generated")]
)
def test_one_step_equals_the_formula_written_out(head: HeadKind, tail: Role) -> None:
    learner = on_a_frozen_body(head, tail)
    state = learn(METHOD, learner, tasks=2)
    batch, draw, net = batch_of(learner, make_task(2)), drawn(METHOD, state, learner), Net(learner.model)
    value, aux = METHOD.loss(net, state, batch, draw)
    assert float(aux.terms["replay"]) > 0

    expected = F.cross_entropy(net(batch.x, 2), batch.target)
    written = learner.model.overlay
    for block in draw.blocks:
        weights = dict(learner.model.target.named_parameters()) | written(block.task)
        for i in range(block.start, block.stop):
            logits = weights["head.weight"] @ draw.x[i] + weights["head.bias"]
            logits = logits if head == "shared" else logits[learner.model.head.columns(block.task)]  # pyright: ignore[reportOptionalMemberAccess]
            expected = expected + 0.7 * slow_cross_entropy(logits, int(draw.target[i])) / len(draw)
    assert_same((value, net.gradients(value)), (expected, net.gradients(expected)), tol=1e-5)


def test_remembered_features_are_the_body_s_and_carry_global_labels() -> None:
    learner = on_a_frozen_body("sliced")
    memory = held(learn(METHOD, learner, tasks=3))
    assert memory.classes() == dict.fromkeys(range(6), 2)  # balanced by class, not by position in the task
    net, images = (
        learner.model.target,
        torch.cat([make_task(t).train.batch(torch.arange(10))[0] for t in range(3)]),
    )
    with torch.no_grad():
        features = net.layer(net.flatten(learner.preprocess(images, None)))  # pyright: ignore[reportCallIssue]
    labels = torch.cat([make_task(t).train.y for t in range(3)])
    for latent, label in zip(memory.x, memory.y, strict=True):
        same = (features - latent).abs().amax(1) < 1e-6
        assert int(same.sum()) == 1 and int(labels[same]) == int(label)


@pytest.mark.parametrize(("head", "tail"), [("sliced", "shared"), ("per_task", "per_task")])
def test_with_heads_alone_above_the_cut_and_no_replay_nothing_is_forgotten(
    head: HeadKind, tail: Role
) -> None:
    net = small_net(6 if head == "sliced" else 2)
    net.layer[1] = nn.BatchNorm1d(8)  # pyright: ignore[reportIndexIssue]
    learner, method = on_a_frozen_body(head, tail, net), LatentReplay(coefficient=0.0)
    state, x = method.init(learner), batch_of(learner, make_task(0), size=4).x
    answers: list[list[Tensor]] = []
    for task in range(3):
        rate = torch.optim.SGD(list(learner.model.trainable().values()), lr=0.5)
        learner.model.train()
        for seed in range(3):
            batch, bound = batch_of(learner, make_task(task), seed=seed), Net(learner.model)
            value, _ = method.loss(bound, state, batch, method.draw(state, learner, batch, generator(0)))
            rate.zero_grad()
            value.backward()
            rate.step()
        learner.model.eval()
        with torch.no_grad():
            answers.append([learner.model(x, earlier) for earlier in range(task + 1)])
        if task < 2:
            next_task(learner)
    for earlier in range(2):
        for later in range(earlier + 1, 3):
            assert torch.equal(answers[later][earlier], answers[earlier][earlier])
    assert not torch.equal(answers[2][1], answers[2][0])


def test_the_body_and_its_statistics_rest_after_the_first_task() -> None:
    net = small_net(6)
    net.layer[1] = nn.BatchNorm1d(8)  # pyright: ignore[reportIndexIssue]
    learner = on_a_frozen_body(net=net)
    state = learn(METHOD, learner, tasks=1)
    before = tensors.copy(dict(net.layer.state_dict()))  # pyright: ignore[reportAttributeAccessIssue]
    learner.model.train()
    value, _ = METHOD.loss(
        Net(learner.model), state, batch_of(learner, make_task(1)), drawn(METHOD, state, learner)
    )
    gradients = Net(learner.model).gradients(value)
    assert set(gradients) == {"target.head.weight", "target.head.bias"}
    for name, tensor in net.layer.state_dict().items():  # pyright: ignore[reportAttributeAccessIssue]
        assert torch.equal(tensor, before[name]), name


def stack(*stages: nn.Module) -> nn.Sequential:
    return nn.Sequential(*stages)


def test_stages_without_parameters_join_the_body_unless_they_drop_out() -> None:
    for middle, expected in ((nn.Dropout(0.0), 3), (nn.Dropout(0.5), 2)):
        net = stack(nn.Flatten(), nn.Linear(16, 8), middle, nn.Linear(8, 6))
        learner = learner_on("plain", net=net, roles={"1.weight": "frozen", "1.bias": "frozen"})
        body, tail = cut(learner.model)
        assert [*body._modules, *tail._modules] == ["0", "1", "2", "3"] and len(body) == expected


@pytest.mark.parametrize(("frozen", "word"), [((), "none"), (("1", "3"), "all")])
def test_a_model_without_a_cut_is_an_error_that_lists_the_stages(frozen: tuple[str, ...], word: str) -> None:
    net = stack(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 6))
    roles: dict[str, Role] = {f"{stage}.{kind}": "frozen" for stage in frozen for kind in ("weight", "bias")}
    text = rf"here {word} are frozen\. Set weights\.cut .* the stages of Sequential are: 0, 1, 2, 3"
    with pytest.raises(HypermnesiaError, match=text):
        METHOD.init(learner_on("plain", net=net, roles=roles))


@pytest.mark.parametrize("kind", ["plain", "hyper", "partial", "mask"])
def test_a_cut_freezes_a_body_whatever_the_weights_are(kind: Kind) -> None:
    net = small_net(6)
    found = of_kind(kind, cut="auto").roles(net)
    assert {name for name, role in found.items() if role == "body"} == {"layer.0.weight", "layer.0.bias"}
    free = of_kind(kind, cut=None).roles(net)
    assert "body" not in free.values()


def test_a_memory_too_small_for_every_class_is_told() -> None:
    with pytest.warns(UserWarning, match=r"memory\.size=3 is smaller than the 6 classes"):
        LatentReplay(memory=MemoryOptions(size=3)).init(on_a_frozen_body())
