"""The Avalanche door: our streams under its strategies."""

import sys
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from small import mlp, split_stream

# Avalanche imports Weights & Biases for one of its loggers, which no test uses.
missing = "wandb" not in sys.modules and find_spec("wandb") is None
if missing:
    sys.modules["wandb"] = ModuleType("wandb")
try:
    pytest.importorskip(
        "avalanche", reason="the package avalanche-lib is not installed, or not whole", exc_type=ImportError
    )
    import avalanche.training  # noqa: F401
finally:
    if missing:
        del sys.modules["wandb"]
pytestmark = pytest.mark.filterwarnings("ignore")  # Avalanche's own

from avalanche.training import Naive  # noqa: E402

import hypermnesia as hm  # noqa: E402
from hypermnesia.adapters.avalanche import benchmark  # noqa: E402


def test_experiences_are_the_tasks():
    stream = split_stream(augment=True)
    found = benchmark(stream, task_labels=True)
    assert len(found.train_stream) == len(found.test_stream) == 3
    for task, experience, test in zip(stream.tasks, found.train_stream, found.test_stream, strict=True):
        assert experience.classes_in_this_experience == set(task.classes)
        assert experience.task_label == task.index
        raw, y = task.test.batch(torch.arange(len(task.test)))
        samples = [test.dataset[i] for i in range(len(task.test))]
        assert torch.equal(torch.stack([x for x, _, _ in samples]), stream.preprocess(raw))
        assert [(int(label), int(own)) for _, label, own in samples] == [(c, task.index) for c in y.tolist()]
        plain = stream.preprocess(task.train.batch(torch.arange(len(task.train)))[0])
        shown = torch.stack([experience.dataset.eval()[i][0] for i in range(len(task.train))])
        assert torch.equal(shown, plain)
        assert not torch.equal(torch.stack([experience.dataset[i][0] for i in range(len(task.train))]), plain)


def test_its_strategies_learn_from_it():
    stream = split_stream()
    found = benchmark(stream)
    net = mlp(6)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.3)
    strategy = Naive(
        model=net, optimizer=optimizer, train_mb_size=8, train_epochs=5, eval_mb_size=20, evaluator=None
    )
    for experience in found.train_stream:
        strategy.train(experience)
    [x, y] = stream.tasks[2].test.batch(torch.arange(len(stream.tasks[2].test)))
    assert (net(stream.preprocess(x)).argmax(1) == y).float().mean() > 0.8
    assert {int(e.task_label) for e in found.train_stream} == {0}


def test_what_is_no_stream_of_classes():
    with pytest.raises(hm.HypermnesiaError, match=r"benchmark: expected a Stream, got str: hm.load\(NAME\)"):
        benchmark("split-digits")  # pyright: ignore[reportArgumentType]
    with pytest.raises(hm.HypermnesiaError, match="split-diabetes tells numbers"):
        benchmark(hm.load("split-diabetes"))
