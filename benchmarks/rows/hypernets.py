"""Full hypernetworks: the step beside hypnettorch's, and what the form of the drift penalty saves."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from benchmarks import peers
from benchmarks.measure import Budget, Step, in_turn
from benchmarks.ours import Placed, mlp, permuted_stream, settle, split_stream
from benchmarks.row import Result, Row, Side, contest, milliseconds
from benchmarks.twins import hypernetwork_step
from hypermnesia.fit import Fit
from hypermnesia.hyper import ChunkedOptions, MaskOptions, drift
from hypermnesia.hyper.dense import DenseOptions
from hypermnesia.method import combine
from hypermnesia.methods.drift import Drift
from hypermnesia.methods.finetune import Finetune
from hypermnesia.nets import ResNetOptions
from hypermnesia.optim import OptimizerOptions
from hypermnesia.streams import StreamOptions, load
from hypermnesia.training import TrainOptions
from hypermnesia.weights import WeightsOptions, model_for

EXAMPLE = OptimizerOptions(lr=1e-4)
"""Of hypnettorch's example: Split MNIST, MLP 100-100, chunks of 750, hidden 100-100, batches of 32."""
PERMUTED = ChunkedOptions(
    chunk=78000, hidden=(25, 25), activation="elu", embedding=24, chunk_embedding=8, init="xavier"
)
"""The paper code's generator for Permuted MNIST-10; its target: 1024-1000-1000-100."""
CIFAR = ChunkedOptions(chunk=7000, hidden=(), embedding=32, chunk_embedding=32)
"""The paper code's generator for a ResNet-32."""


def example(tasks: int, precision: str = "float32", compiled: bool = False) -> Placed:
    """Ours at the last of `tasks` tasks."""
    method = combine(Finetune(), Drift(beta=0.01, precision=precision))  # pyright: ignore[reportArgumentType]
    stream = split_stream(tasks, 2)
    return Placed(
        stream, mlp(100, 100), method, "hyper", ChunkedOptions(), None, tasks - 1, 32, EXAMPLE, compile=compiled
    )


def hypnettorch(tasks: int) -> Step:
    """hypnettorch 0.0.4 at the same point, as its example arranges a step."""
    settle()
    from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP  # pyright: ignore[reportMissingImports]
    from hypnettorch.mnets.mlp import MLP  # pyright: ignore[reportMissingImports]
    from hypnettorch.utils import hnet_regularizer  # pyright: ignore[reportMissingImports]

    target = MLP(n_in=784, n_out=2, hidden_layers=(100, 100), no_weights=True, verbose=False)
    hnet = ChunkedHMLP(
        target.param_shapes, 750, chunk_emb_size=8, layers=(100, 100), cond_in_size=8, num_cond_embs=tasks, verbose=False
    )
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
    return hypernetwork_step(model, task, run.stream.preprocess(raw), run.learner.targets(y, task), 0.01, optimizer)


def beside_hypnettorch(tasks: int, wanted: float) -> Row:
    about = f"a step of hnet at task {tasks}, hypnettorch's example defaults"
    ours = Side("ours", lambda: example(tasks))
    if peers.installed():
        return contest(f"hnet-{tasks}", about, ours, Side("hypnettorch", lambda: hypnettorch(tasks)), wanted, peers=True)
    return contest(f"hnet-{tasks}", about, ours, Side("slow twin", lambda: twin_of(example(tasks))), wanted)


def compiled(tasks: int) -> Row:
    return contest(
        f"hnet-{tasks}-compiled",
        f"the same step, compiled, beside the eager one, task {tasks}",
        Side("compiled", lambda: example(tasks, compiled=True)),
        Side("eager", lambda: example(tasks)),
    )


def penalty(stream_net: Callable[[], Fit], form: str) -> Step:
    """Value and gradient of the drift penalty alone, every parameter of the generator some way off its snapshot."""
    settle()
    run = stream_net()
    generator = run.learner.model.generator
    assert generator is not None
    tasks = range(9)
    with torch.no_grad():
        factors = generator(tasks, factored=True)
        held = drift.snapshot(factors) if form == "gram" else generator.assemble(factors)
        for parameter in generator.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    params = list(generator.parameters())

    def step() -> None:
        if form == "gram":
            value = drift.gram(generator(tasks, factored=True), held)
        else:
            value = drift.direct(generator(tasks), held).sum()
        torch.autograd.grad(value, params)

    return step


def permuted_run() -> Fit:
    """The paper code's Permuted MNIST-10 after nine tasks."""
    stream = permuted_stream(10)
    wide = WeightsOptions(kind="hyper", head="sliced")
    model = model_for(replace(stream, num_classes=100), mlp(1000, 1000)(stream), "hyper", PERMUTED)
    return _grown(model, stream, wide)


def resnet_run() -> Fit:
    """A ResNet-32 after nine tasks."""
    stream = split_stream(10, 10, each=2, shape=(3, 32, 32))
    net = ResNetOptions(depth=32)
    model = model_for(stream, lambda outputs: net.build(stream.shape, outputs), "hyper", CIFAR)
    return _grown(model, stream, None)


def _grown(model, stream, _options) -> Fit:  # pyright: ignore[reportMissingParameterType]
    run = Fit(model, stream, Finetune(), TrainOptions(iterations=1))
    for _ in range(9):
        run.grow(model)
    return run
