"""Classifiers in closed form: what they compute, and that order, splits and what was taken out again leave no bit behind."""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import small
import torch
import torch.nn.functional as F
from exact import resumed
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.rng import generator
from hypermnesia.data import Stream
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.methods.closed_form import NCM, SLDA, ClosedForm, FeCAM, RanPAC, Ridge
from hypermnesia.nets import BottleneckOptions
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.options import LoRA

METHODS = (NCM(), NCM(metric="euclidean"), SLDA(), Ridge(), RanPAC(width=50), FeCAM(), FeCAM(width=14))
each = pytest.mark.parametrize(
    "method", METHODS, ids=lambda m: f"{type(m).__name__}-{getattr(m, 'metric', '')}"
)


def head_only(outputs: int) -> nn.Sequential:
    """No hidden layer: the features are the pixels, whatever else lies in the batch."""
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), head=nn.Linear(16, outputs)))


def fitted(method: ClosedForm, stream: Stream) -> Fit:
    run = small.run(stream, method=method, net=head_only)
    for _ in run:
        pass
    return run


def classifier(run: Fit) -> tuple[Tensor, Tensor]:
    state = run.learner.state
    assert state.weight is not None and state.bias is not None
    return state.weight, state.bias


def recut(stream: Stream, tasks: int, seed: int) -> Stream:
    """The same training samples in other tasks: any sample in any task, in any order."""
    part = stream.joined().tasks[0].train
    order = torch.randperm(len(part), generator=generator(seed, "recut"))
    first = stream.joined().tasks[0]
    cut = [
        replace(first, index=i, train=replace(part, index=part.index[rows]))
        for i, rows in enumerate(torch.tensor_split(order, tasks))
    ]
    return replace(stream.joined(), tasks=tuple(cut))


def pixels(stream: Stream) -> tuple[Tensor, Tensor]:
    part = stream.joined().tasks[0].train
    raw, y = part.batch(torch.arange(len(part)))
    return stream.preprocess(raw, None).flatten(1), y


@each
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), tasks=st.integers(1, 20))
def test_any_sequence_of_tasks_equals_joint_fitting_to_the_bit(
    method: ClosedForm, seed: int, tasks: int
) -> None:
    stream = small.split_stream()
    joint = fitted(method, stream.joined())
    for one in (stream, recut(stream, tasks, seed)):
        for ours, theirs in zip(classifier(fitted(method, one)), classifier(joint), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("tasks", [1, 5, 10, 20, 50, 100])
@settings(max_examples=3, deadline=None)
@given(
    method=st.sampled_from(METHODS),
    seed=st.integers(0, 1000),
    threads=st.sampled_from([1, 2]),
    stops=st.lists(st.integers(0, 99), max_size=3, unique=True),
)
def test_neither_tasks_nor_order_nor_kills_nor_threads_leave_a_bit_and_unlearning_leaves_none(
    tasks: int, method: ClosedForm, seed: int, threads: int, stops: list[int]
) -> None:
    stream = small.split_stream(tasks=5)
    joint = fitted(method, stream.joined())
    cut = recut(stream, tasks, seed)

    def make() -> Fit:
        return small.run(
            cut,
            method=method,
            net=head_only,
            train=TrainOptions(iterations=1, threads=threads),
            evaluation=EvaluateOptions(every="end"),
        )

    with TemporaryDirectory() as directory:
        run = resumed(make, sorted(stop for stop in stops if stop < tasks), Path(directory))
    for ours, theirs in zip(classifier(run), classifier(joint), strict=True):
        assert torch.equal(ours, theirs)
    class_gone = seed % 10
    part = stream.joined().tasks[0].train
    gone, kept = part.y == class_gone, (part.y != class_gone).nonzero().flatten()
    x, y = part.batch(gone.nonzero().flatten())
    left = method.forget(run.learner.state, run.learner, stream.preprocess(x, None), y)
    first = stream.joined().tasks[0]
    without = fitted(
        method, replace(stream.joined(), tasks=(replace(first, train=replace(part, index=part.index[kept])),))
    )
    for ours, theirs in zip((left.weight, left.bias), classifier(without), strict=True):
        assert torch.equal(ours, theirs)


@each
def test_what_is_forgotten_has_never_been_seen(method: ClosedForm) -> None:
    stream = small.split_stream()
    run = fitted(method, stream)
    gone = stream.tasks[1]
    x, y = gone.train.batch(torch.arange(len(gone.train)))
    state = method.forget(run.learner.state, run.learner, stream.preprocess(x, None), y)
    without = fitted(method, replace(stream, tasks=(stream.tasks[0], replace(stream.tasks[2], index=1))))
    for ours, theirs in zip((state.weight, state.bias), classifier(without), strict=True):
        assert torch.equal(ours, theirs)
    if state.precisions is not None:
        assert torch.equal(state.precisions, without.learner.state.precisions)
    scores = method.scores(state, run.learner, x.float(), 0)
    assert scores is not None and bool(scores[:, list(gone.classes)].isneginf().all())
    with pytest.raises(HypermnesiaError, match="never put in"):
        method.forget(state, run.learner, stream.preprocess(x, None), y)


@each
def test_it_learns(method: ClosedForm) -> None:
    records = fitted(method, small.split_stream()).records
    last = records.rows["class"][-1]
    assert records.seconds > 0, "what is done at a task's end is training"
    assert all(value is not None and value > 0.9 for value in last)


def test_ridge_is_the_textbooks() -> None:
    stream = small.split_stream()
    x, y = pixels(stream)
    weight, _ = classifier(fitted(Ridge(strength=0.01), stream))
    X, Y = x.double().numpy(), np.eye(6)[y.numpy()]
    gram = X.T @ X
    expected = np.linalg.solve(gram + 0.01 * np.trace(gram) / 16 * np.eye(16), X.T @ Y)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-2, atol=1e-4)


def test_slda_is_linear_discriminant_analysis() -> None:
    stream = small.split_stream()
    x, y = pixels(stream)
    run = fitted(SLDA(shrinkage=1e-9), stream)
    twin = LinearDiscriminantAnalysis(solver="lsqr", priors=np.full(6, 1 / 6)).fit(x.numpy(), y.numpy())
    noise = x + torch.randn(x.shape, generator=generator(0, "noise"))
    scores = run.method.scores(run.learner.state, run.learner, noise.view(-1, 1, 4, 4), 0)
    assert scores is not None
    assert np.mean(scores.argmax(1).numpy() == twin.predict(noise.numpy())) > 0.98


def test_fecam_is_the_mahalanobis_distance_to_each_class() -> None:
    stream = small.split_stream()
    x, y = pixels(stream)
    run = fitted(FeCAM(), stream)
    z = x.sign() * x.abs().sqrt()
    expected = []
    for c in range(6):
        s = np.cov(z[y == c].double().numpy().T)
        beside = ~np.eye(16, dtype=bool)
        s = s + np.diag(s).mean() * ~beside + s[beside].mean() * beside
        s = s / np.sqrt(np.outer(np.diag(s), np.diag(s)))
        mean = z[y == c].mean(0)
        apart = (F.normalize(z) - F.normalize(mean, dim=0)).double().numpy()
        expected.append(-np.einsum("bi,ij,bj->b", apart, np.linalg.inv(s), apart))
    scores = run.method.scores(run.learner.state, run.learner, x.view(-1, 1, 4, 4), 0)
    assert scores is not None
    np.testing.assert_allclose(scores.numpy(), np.stack(expected, 1), rtol=2e-2, atol=2e-3)


def test_ncm_answers_the_nearest_mean() -> None:
    stream = small.split_stream()
    x, y = pixels(stream)
    means = torch.stack([x[y == c].mean(0) for c in range(6)])
    run = fitted(NCM(metric="euclidean"), stream)
    scores = run.method.scores(run.learner.state, run.learner, x.view(-1, 1, 4, 4), 0)
    assert scores is not None
    assert torch.equal(scores.argmax(1), torch.cdist(x, means).argmin(1))


def adapted(stream: Stream) -> Fit:
    train = TrainOptions(iterations=5, batch_size=8, threads=1)
    run = small.run(stream, "plain", Ridge(adapt=True), train, net=bottleneck)
    for _ in run:
        pass
    return run


def bottleneck(outputs: int) -> nn.Module:
    return BottleneckOptions(width=3).build((1, 4, 4), outputs)


def test_the_network_adapts_to_the_first_task_and_sums_stay_exact() -> None:
    stream = small.split_stream()
    first, second, third = stream.tasks
    run = adapted(stream)
    other = adapted(replace(stream, tasks=(first, replace(third, index=1), replace(second, index=2))))
    adapter = run.learner.model.target.get_submodule("adapter")
    assert run.records.steps == 5 and bool(adapter.get_parameter("up.weight").any())
    for ours, theirs in zip(classifier(run), classifier(other), strict=True):
        assert torch.equal(ours, theirs)
    x, y = third.train.batch(torch.arange(len(third.train)))
    left = run.method.forget(run.learner.state, run.learner, stream.preprocess(x, None), y)
    without = adapted(replace(stream, tasks=(first, second)))
    for ours, theirs in zip((left.weight, left.bias), classifier(without), strict=True):
        assert torch.equal(ours, theirs)
    x, y = first.train.batch(torch.arange(2))
    with pytest.raises(HypermnesiaError, match=r"adapted to the first task .* later tasks can be taken out"):
        run.method.forget(run.learner.state, run.learner, stream.preprocess(x, None), y)


def test_an_addition_shared_by_all_tasks_adapts_too_and_is_part_of_the_network() -> None:
    stream = small.split_stream()
    train = TrainOptions(iterations=20, batch_size=8, threads=1)
    run = small.run(stream, LoRA(written="shared"), RanPAC(adapt=True, width=30), train)
    small.all_of([run])
    learner, (x, _) = run.learner, stream.tasks[0].test.batch(torch.arange(4))
    assert learner.model.generator is not None and learner.model.generator([0])["layer.0.weight"].any()
    network = run.method.network(learner.state, learner)
    assert network is not None
    seen = stream.preprocess(x, None)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(seen), run.method.scores(learner.state, learner, seen, 0))


def test_there_has_to_be_something_that_adapts() -> None:
    with pytest.raises(HypermnesiaError, match="here nothing does: take net=bottleneck"):
        small.run(small.split_stream(), method=Ridge(adapt=True), net=head_only)


def test_classes_to_come_are_left_out() -> None:
    """It has no answer there, and chance would be called transfer."""
    records = fitted(Ridge(), small.split_stream()).records
    missing = [[value is None for value in row] for row in records.rows["task"]]
    assert missing == [[False, True, True], [False, False, True], [False, False, False]]


def test_weights_that_differ_by_task_are_refused() -> None:
    with pytest.raises(HypermnesiaError, match="ridge fits one classifier on features that all tasks share"):
        small.run(small.split_stream(), "hyper", Ridge())


def test_the_texts_name_all_of_them() -> None:
    """Approaches say it of themselves, and the pages list those that do."""
    own = {name for name, found in APPROACHES.items() if issubclass(found.method_class(), ClosedForm)}
    assert own == {name for name, found in APPROACHES.items() if found.summary.startswith("closed form: ")}
    root = Path(__file__).parents[2]
    pages = {
        page: (root / page).read_text("utf-8").splitlines()
        for page in ("README.md", "docs/adapters.md", "docs/methods/closed-form.md")
    }
    for page, lines in pages.items():
        assert any(all(name in line for name in own) for line in lines), page
