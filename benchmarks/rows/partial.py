"""Partial hypernetworks: the step beside a twin that generates weights per sample and loops over tasks."""

from collections.abc import Callable

import torch
from torch import nn

from benchmarks.measure import Step
from benchmarks.ours import Placed, split_stream
from benchmarks.row import Row, Side, contest
from benchmarks.twins import partial_step
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Stream
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.nets import ResNet18Options
from hypermnesia.weights import HeadsOptions
from hypermnesia.weights.options import Partial

EARLIER = 10
BATCH = 32
CUTS = {"hnf": None, "hn2": "layer2", "hn4": "layer4"}
"""The last shared stage."""


def step(cut: str | None, twin: bool = False, compile: bool = False, everything: bool = False) -> Step:
    """A step at 10 earlier tasks: slim ResNet-18, 5 classes, batch 32, first-order look-ahead."""
    method = combine(Finetune(), Drift(beta=0.5, look_ahead="sgd"))
    options = Partial(cut=cut, embedding_init="previous", plastic_embeddings=True)

    def net(stream: Stream) -> Callable[[int], nn.Module]:
        return lambda outputs: ResNet18Options(width=20).build(stream.shape, outputs)

    stream = split_stream(EARLIER + 1, 5, each=16, shape=(3, 32, 32))
    placed = Placed(
        stream,
        net,
        method,
        options,
        HeadsOptions(),
        EARLIER,
        BATCH,
        OptimizerOptions(lr=1e-3),
        compile=compile,
    )
    if not twin:
        return placed
    run, model = placed.run, placed.run.learner.model
    raw, y = stream.tasks[EARLIER].train.batch(torch.arange(BATCH))
    optimizer = torch.optim.Adam(model.trainable().values(), lr=1e-3)
    target = run.learner.targets(y, EARLIER)
    return partial_step(model, EARLIER, stream.preprocess(raw), target, 0.5, 1e-3, optimizer, everything)


def beside_twin(name: str, wanted: float | None, compile: bool = False) -> Row:
    how = (", ours compiled", "-compiled") if compile else ("", "")
    return contest(
        f"phn-{name}{how[1]}",
        f"a step of phn at 10 earlier tasks, {name.upper().replace('HN', 'HN-')}{how[0]}",
        Side("ours", lambda: step(CUTS[name], compile=compile)),
        Side("slow twin", lambda: step(CUTS[name], twin=True)),
        wanted,
    )


def beside_published(name: str, wanted: float) -> Row:
    return contest(
        f"phn-{name}-published",
        f"the same step, {name.upper().replace('HN', 'HN-')}, beside all that the published one does",
        Side("ours", lambda: step(CUTS[name])),
        Side("slow twin, whole", lambda: step(CUTS[name], twin=True, everything=True)),
        wanted,
    )


ROWS = (
    beside_published("hnf", 5),
    beside_published("hn2", 5),
    beside_published("hn4", 3),
    beside_twin("hnf", 4),
    beside_twin("hn2", 5),
    beside_twin("hn4", 3),
    beside_twin("hnf", None, compile=True),
    beside_twin("hn2", None, compile=True),
    beside_twin("hn4", None, compile=True),
    contest(
        "phn-partial",
        "what generating only a part saves",
        Side("HN-2", lambda: step(CUTS["hn2"])),
        Side("HN-F", lambda: step(CUTS["hnf"])),
        1,
    ),
    contest(
        "phn-partial-most",
        "what generating only the classifier saves",
        Side("HN-4", lambda: step(CUTS["hn4"])),
        Side("HN-F", lambda: step(CUTS["hnf"])),
        1,
    ),
)
