"""Full hypernetworks: the step beside hypnettorch's, and what the form of the drift penalty saves."""

from collections.abc import Callable

import torch
import torch.nn.functional as F

from benchmarks import peers
from benchmarks.measure import Budget, Step, in_turn
from benchmarks.ours import Placed, mlp, permuted_stream, settle, split_stream
from benchmarks.row import Result, Row, Side, contest, milliseconds
from benchmarks.twins import hypernetwork_step
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Stream, StreamOptions, load
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.nets import ResNetOptions
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights import ChunkedOptions, DenseOptions, MaskOptions, Model
from hypermnesia.weights.build import model_for
from hypermnesia.weights.distance import forms
from hypermnesia.weights.options import Hyper, Mask

EXAMPLE = OptimizerOptions(lr=1e-4)
"""Of hypnettorch's example: Split MNIST, MLP 100-100, chunks of 750, hidden 100-100, batches of 32."""
PERMUTED = ChunkedOptions(
    chunk=78000, hidden=(25, 25), activation="elu", embedding=24, chunk_embedding=8, init="xavier"
)
"""The paper code's generator for Permuted MNIST-10; its target: 1024-1000-1000-100."""
SLICED = Hyper(head="sliced")
CIFAR = ChunkedOptions(chunk=7000, hidden=(), embedding=32, chunk_embedding=32)
"""The paper code's generator for a ResNet-32."""


def example(tasks: int, precision: str = "float32", compiled: bool = False) -> Placed:
    """Ours at the last of `tasks` tasks."""
    method = combine(Finetune(), Drift(beta=0.01, precision=precision))  # pyright: ignore[reportArgumentType]
    stream = split_stream(tasks, 2)
    return Placed(
        stream,
        mlp(100, 100),
        method,
        "hyper",
        ChunkedOptions(),
        tasks - 1,
        32,
        EXAMPLE,
        compile=compiled,
    )


def hypnettorch(tasks: int) -> Step:
    """hypnettorch 0.0.4 at the same point, as its example arranges a step."""
    settle()
    from hypnettorch.utils import hnet_regularizer  # pyright: ignore[reportMissingImports]

    target, hnet = peers.hypnettorch(tasks)
    optimizer = torch.optim.Adam(hnet.parameters(), lr=1e-4)
    last = tasks - 1
    targets = hnet_regularizer.get_current_targets(last, hnet)
    x, y = torch.rand(32, 784), torch.randint(2, (32,))

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(target.forward(x, weights=hnet.forward(cond_id=last)), y)
        loss = loss + 0.01 * hnet_regularizer.calc_fix_target_reg(hnet, last, targets=targets, mnet=target)
        loss.backward()
        optimizer.step()

    return step


def twin_of(placed: Placed) -> Step:
    """The twin of a placed run, on its own model."""
    run, model = placed.run, placed.run.learner.model
    task = run.learner.task
    raw, y = run.stream.tasks[task].train.batch(torch.arange(32))
    optimizer = torch.optim.Adam(model.trainable().values(), lr=1e-4)
    return hypernetwork_step(
        model, task, run.stream.preprocess(raw), run.learner.targets(y, task), 0.01, optimizer
    )


def beside_hypnettorch(tasks: int, wanted: float, compiled: bool = False) -> Row:
    name, how = (f"hnet-{tasks}-compiled", ", ours compiled") if compiled else (f"hnet-{tasks}", "")
    about = f"a step of hnet at task {tasks}, hypnettorch's example defaults{how}"
    ours = Side("ours", lambda: example(tasks, compiled=compiled))
    if peers.installed():
        return contest(name, about, ours, Side("hypnettorch", lambda: hypnettorch(tasks)), wanted, peers=True)
    return contest(name, about, ours, Side("slow twin", lambda: twin_of(example(tasks))), wanted)


def penalty(stream_net: Callable[[], Fit], form: str) -> Step:
    """Value and gradient of the drift penalty alone, every parameter of the generator some way off its snapshot."""
    settle()
    run = stream_net()
    generator = run.learner.model.generator
    assert generator is not None
    tasks = range(9)
    with torch.no_grad():
        factors = generator(tasks, factored=True)
        held = forms.snapshot(factors) if form == "gram" else generator.assemble(factors)
        for parameter in generator.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    params = list(generator.parameters())

    def step() -> None:
        if form == "gram":
            value = forms.gram(generator(tasks, factored=True), held)
        else:
            value = forms.direct(generator(tasks), held).sum()
        torch.autograd.grad(value, params)

    return step


def permuted_run() -> Fit:
    """The paper code's Permuted MNIST-10 after nine tasks."""
    stream = permuted_stream(10)
    return _after_nine(model_for(stream, mlp(1000, 1000)(stream), SLICED, PERMUTED), stream)


def resnet_run() -> Fit:
    """A ResNet-32 after nine tasks."""
    stream = split_stream(10, 10, each=2, shape=(3, 32, 32))
    net = ResNetOptions(depth=32)
    return _after_nine(
        model_for(stream, lambda outputs: net.build(stream.shape, outputs), "hyper", CIFAR), stream
    )


def _after_nine(model: Model, stream: Stream) -> Fit:
    run = Fit(model, stream, Finetune(), TrainOptions(iterations=1))
    for _ in range(9):
        run.grow(model)
    return run


def form_of_penalty(name: str, what: str, run: Callable[[], Fit], wanted: float | None) -> Row:
    return contest(
        f"drift-{name}",
        f"the drift penalty, value and gradient, at 9 earlier tasks: {what}",
        Side("Gram form", lambda: penalty(run, "gram")),
        Side("direct, all tasks in one batch", lambda: penalty(run, "direct")),
        wanted,
    )


def whole_step(task: int) -> Placed:
    """A step of the paper code's Permuted MNIST-10 at a task counted from 1, batch 128."""
    method = combine(Finetune(), Drift(beta=0.01, mask_heads=False))
    options = OptimizerOptions(lr=1e-4)
    return Placed(permuted_stream(10), mlp(1000, 1000), method, SLICED, PERMUTED, task - 1, 128, options)


def masks(twin: bool) -> Step:
    """HyperMask's published Split MNIST settings (dense generator of 12 million), at 10 earlier tasks."""
    method = combine(Finetune(), Drift(beta=1e-3, over_tasks="reference"), Anchor(weighting="current"))
    writer = DenseOptions(embedding=128, hidden=(25, 25), activation="elu")
    options = Mask(plastic_embeddings=True, generator=writer, mask=MaskOptions(sparsity=30))
    stream = split_stream(11, 2)
    placed = Placed(stream, mlp(400, 400), method, options, None, 10, 128, OptimizerOptions(lr=1e-3))
    return twin_of(placed) if twin else placed


def low_precision(budget: Budget) -> list[Result]:
    """bf16 in the drift products: speed, what it does to the gradient, and to the accuracy."""
    found = []
    for tasks in (20, 100):
        sides: dict[str, Step] = {kind: example(tasks, kind) for kind in ("bf16", "float32")}
        time = in_turn(sides, budget)
        off = _gradient_error(sides["float32"], sides["bf16"])  # pyright: ignore[reportArgumentType]
        found.append(
            Result(
                f"bf16 {milliseconds(time['bf16'].median)}",
                f"float32 {milliseconds(time['float32'].median)}, task {tasks}",
                f"{time['float32'].median / time['bf16'].median:.2f}",
                note=f"relative difference of the penalty's gradient {off:.1e}",
            )
        )
    accuracies = {kind: _digits(kind) for kind in ("bf16", "float32")}
    shown = ", ".join(f"{kind} {value:.4f}" for kind, value in accuracies.items())
    found.append(
        Result("", "", note=f"split-digits, 300 steps per task, mean accuracy with the task given: {shown}")
    )
    return found


def _gradient_error(exact: Placed, rounded: Placed) -> float:
    """Of the penalty's gradient at the same point, 30 steps from the snapshot."""
    for _ in range(30):
        exact()
    run = exact.run
    generator, other = run.learner.model.generator, rounded.run.learner.model.generator
    assert generator is not None and other is not None
    at = dict(generator.named_parameters())
    gradients = []
    for placed in (exact, rounded):
        state = placed.run.learner.state.penalties[0]
        factors = generator(range(run.learner.task), factored=True)
        trains = [p for p in at.values() if p.requires_grad]
        found = torch.autograd.grad(forms.gram(factors, state.anchor), trains, allow_unused=True)
        gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())


def _digits(kind: str) -> float:
    stream = load("split-digits", options=StreamOptions())
    model = model_for(stream, mlp(100, 100)(stream), "hyper", ChunkedOptions())
    method = combine(Finetune(), Drift(beta=0.01, form="gram", precision=kind))  # pyright: ignore[reportArgumentType]
    run = Fit(model, stream, method, TrainOptions(iterations=300, threads=1))
    for _ in run:
        pass
    row = run.records.rows["task"][-1]
    return sum(value for value in row if value is not None) / len(row)


ROWS = (
    beside_hypnettorch(5, 2.2),
    beside_hypnettorch(20, 3.5),
    beside_hypnettorch(100, 4.5),
    beside_hypnettorch(5, 4, compiled=True),
    beside_hypnettorch(20, 8, compiled=True),
    beside_hypnettorch(100, 14, compiled=True),
    Row("hnet-bf16", "the drift's products in bf16 (`drift.precision=bf16`)", low_precision),
    form_of_penalty("permuted-mnist-10", "chunks of 78,000, hidden 25-25", permuted_run, 5),
    form_of_penalty("resnet-32", "chunks of 7,000, linear", resnet_run, None),
    contest(
        "growth-permuted-mnist-10",
        "a whole step at task 10 in units of one at task 2, paper code's Permuted MNIST-10",
        Side("task 10", lambda: whole_step(10)),
        Side("task 2", lambda: whole_step(2)),
        1.3,
        "cost",
    ),
    contest(
        "hypermask-10",
        "a step of hypermask at 10 earlier tasks, published Split MNIST settings",
        Side("ours", lambda: masks(twin=False)),
        Side("slow twin", lambda: masks(twin=True)),
        5,
    ),
)
