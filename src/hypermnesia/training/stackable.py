"""Which runs can take their steps together, and when that is likely to pay."""

from collections.abc import Sequence

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from hypermnesia.core import trees
from hypermnesia.training.loop import Fit
from hypermnesia.weights.hypernets.base import Generator

PAYS_BELOW = 400_000
"""Trainable numbers of one run up to which stacking is the default. Small networks spend their time on calling
operations, which stacking does once for all seeds; large ones on arithmetic and memory, which it does not spare. By
`benchmarks/rows/stacked.py`."""


def why_apart(runs: Sequence[Fit]) -> str:
    """Why the steps of these runs cannot be taken together; empty if they can."""
    first = runs[0]
    if len(runs) < 2:
        return "there is only one seed"
    if trees.numbers([run.method for run in runs]) is None:
        return "their methods differ in more than numbers"
    rates = trees.numbers([run.optimizer_options for run in runs])
    if rates is None or not rates.keys() <= {("lr",), ("embedding_lr",)}:
        return "their optimizers differ in more than learning rates"
    if len({run.optimizer_options.apart for run in runs}) > 1:
        return "the embeddings of some have a learning rate of their own"
    if first.optimizer_options.schedule == "plateau":
        return "each run's learning rate follows its own validation accuracy"
    if len(first.learner.models) > 1:
        return "the approach trains several models"
    if not first.method.staged:
        return "its gradients are computed in a way of their own"
    if any(p.data or p.restart or not p.trains for p in first.method.phases(first.learner)):
        return "it does more than train on each task's samples"
    if any(_not_alike(m) for m in first.learner.model.modules()):
        return "the network has dropout, noise or running statistics, which change outside of the gradient"
    if any(run.learner.preprocess != first.learner.preprocess for run in runs):
        return "their samples are normalised by numbers of their own"
    forms = [{n: v.shape for n, v in run.learner.model.named_parameters()} for run in runs]
    if any(form != forms[0] for form in forms):
        return "their networks differ in form"
    sizes = [[len(task.train) for task in run.stream.tasks] for run in runs]
    if any(size != sizes[0] for size in sizes) and first.train.iterations is None:
        return "their tasks differ in length, and are passed in epochs"
    return ""


def pays(runs: Sequence[Fit]) -> bool:
    """Whether stacking them is likely to take less time than one run after the other, on a CPU."""
    return sum(p.numel() for p in runs[0].learner.model.parameters() if p.requires_grad) <= PAYS_BELOW


def _not_alike(module: nn.Module) -> bool:
    noisy = isinstance(module, _DropoutNd) and module.p > 0
    noisy = noisy or (isinstance(module, Generator) and module.embedding_noise > 0)
    return noisy or (isinstance(module, _NormBase) and module.track_running_stats)
