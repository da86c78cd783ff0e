"""InfLoRA: which directions it gives a task's adapter, one step by hand, and that earlier tasks' inputs see nothing of it."""

from pathlib import Path

import numpy as np
import pytest
import small
import torch
from exact import resumed
from torch import nn

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.core.rng import generator
from hypermnesia.core.trees import flat
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.penalties.inflora import InfLoRA, InfLoRAState, _rows, widened
from hypermnesia.training.events import TaskEnded, TaskStarted
from hypermnesia.weights.hypernets.adapters import AdapterOptions, Adapters
from hypermnesia.weights.options import LoRA

KEY = "layer.0.weight"


def run(iterations: int = 3, **options: float) -> hm.Fit:
    return small.run(
        small.split_stream(),
        LoRA(written="summed", target=(KEY,), generator=AdapterOptions(rank=2, sharing="summed")),
        hm.combine(hm.Finetune(), InfLoRA(**options)),
        hm.TrainOptions(iterations=iterations, batch_size=8, threads=1),
        optimizer=OptimizerOptions(name="sgd", lr=0.1),
    )


def test_no_step_reads_what_is_kept() -> None:
    """So seeds whose spaces differ in size are stacked."""
    assert flat(InfLoRAState({"w": torch.zeros(2, 1)})) == flat(InfLoRAState({"w": torch.zeros(2, 2)}))


def writer_of(fit: hm.Fit) -> Adapters:
    writer = fit.learner.model.generator
    assert isinstance(writer, Adapters)
    return writer


def gram(fit: hm.Fit, task: int) -> np.ndarray:
    """Σ x xᵀ of what the first layer gets of a task: its pixels."""
    part = fit.stream.tasks[task].train
    raw, _ = part.batch(torch.arange(len(part)))
    x = fit.stream.preprocess(raw, None).flatten(1).double().numpy()
    return np.sum([np.outer(row, row) for row in x], 0)


def test_one_step_by_hand() -> None:
    """V is the first singular vectors of the inputs over √3 and rests; U takes the step of plain gradient descent."""
    fit = run(iterations=1)
    writer = writer_of(fit)
    up, down = writer.rows("up")[0], writer.rows("down")[0]
    design = torch.empty(0)
    for event in fit:
        if isinstance(event, TaskStarted):
            design = down[0].detach().clone()
        if isinstance(event, TaskEnded):
            break
    vectors = np.linalg.svd(gram(fit, 0))[0][:, :2] / np.sqrt(3)
    np.testing.assert_allclose(np.abs(design[0].numpy()), np.abs(vectors), atol=1e-5)
    assert torch.equal(down[0], design)
    fresh = run(iterations=1)
    steps = fresh.advance()
    next(event for event in steps if isinstance(event, TaskStarted))
    request = next(steps)
    net, batch = request.net, request.batch  # pyright: ignore[reportAttributeAccessIssue]
    loss = nn.functional.cross_entropy(net(batch.x, 0), batch.target)
    [slope] = torch.autograd.grad(loss, [writer_of(fresh).rows("up")[0][0]])
    torch.testing.assert_close(up[0], -0.1 * slope)


def test_earlier_tasks_inputs_see_nothing_of_a_new_adapter() -> None:
    """The directions of a new adapter are orthogonal to the space that holds what earlier tasks use."""
    fit = run(start=0.9, end=0.9)
    for event in fit:
        if isinstance(event, TaskEnded) and event.task == 1:
            break
    space = fit.learner.state.penalties[0].spaces[KEY]
    first, second = gram(fit, 0), torch.from_numpy(gram(fit, 1))
    sizes = np.linalg.svd(first)[1] ** 2
    count = int((np.cumsum(sizes) / sizes.sum() < 0.9).sum()) + 1
    before = widened(None, torch.from_numpy(first), 0.9)
    assert before.shape[1] == count < space.shape[1]
    torch.testing.assert_close(space.T @ space, torch.eye(space.shape[1], dtype=torch.float64))
    v = writer_of(fit).rows("down")[0][1].detach()[0].double()
    assert float((before.T @ v).abs().max()) < 1e-6 and float(v.norm()) > 0.5
    held = space @ space.T @ second
    assert float(held.square().sum()) >= 0.9 * float(second.square().sum())


def test_where_nothing_is_left_nothing_is_added() -> None:
    fit = run(start=1.0, end=1.0)
    small.all_of([fit])
    first, *later = writer_of(fit).rows("down")[0]
    assert fit.learner.state.penalties[0].spaces[KEY].shape == (16, 16)
    assert first.any() and not any(v.any() for v in later)


def test_windows_of_a_convolution() -> None:
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)
    x = torch.randn(2, 4, 5, 5, generator=generator(0, "x"))
    rows = _rows(conv, x).unflatten(0, (2, 2, 9))  # samples, groups, windows
    found = torch.einsum("bgwi,goi->bgow", rows, conv.weight.flatten(1).unflatten(0, (2, 3)))
    torch.testing.assert_close(found.flatten(1, 2).unflatten(-1, (3, 3)), conv(x))


def test_a_resumed_run_has_the_same_bits(tmp_path: Path) -> None:
    whole = run()
    small.all_of([whole])
    again = resumed(run, [5], tmp_path)
    for name, value in whole.learner.model.named_parameters():
        assert torch.equal(value, dict(again.learner.model.named_parameters())[name])


def test_on_the_command_line_and_what_it_needs() -> None:
    words = ["weights=lora", "written=summed", "inflora.start=0.9"]
    assert resolve("split-digits", "finetune", words).sections["inflora"] == InfLoRA(start=0.9)
    with pytest.raises(
        HypermnesiaError, match="do not sum up: take weights=lora with weights.written=summed"
    ):
        small.run(method=hm.combine(hm.Finetune(), InfLoRA()))
