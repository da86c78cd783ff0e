"""SCR, supervised contrastive replay: features of a class are drawn together, and a sample is of the class whose mean is
nearest (Mai et al. 2021, arXiv:2103.13885).
"""

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hypermnesia.core.declared import Positive, Probability
from hypermnesia.core.tensors import Tensors
from hypermnesia.data import Task
from hypermnesia.methods.learner import Aux, Batch, Learner, Net
from hypermnesia.methods.replay import nearest_mean, rehearsal
from hypermnesia.methods.replay.buffer import Memory
from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions, Replay
from hypermnesia.nets.classifiers import projections
from hypermnesia.weights.model import evaluating


@dataclass(frozen=True)
class SCRState:
    memory: Memory
    means: Tensors = field(default_factory=dict)
    """As `nearest_mean.class_means` gives them, after a task's last step; empty while a task trains."""


@dataclass(frozen=True)
class SCRDraw:
    """What is rehearsed, and a second view of every sample."""

    replay: Replay | None
    views: Tensor
    """(B, …) network input, of the batch."""
    replay_views: Tensor | None
    """(m, …), of the draw."""


@dataclass(frozen=True, kw_only=True)
class SCR(ReplayMethod):
    """Supervised contrastive loss over batch and memory, each sample in two views (Mai et al. 2021, arXiv:2103.13885, eq. 2).

    L = mean over all 2(B+m) views i of −1/|P(i)| Σ_{p ∈ P(i)} log( exp(z_i·z_p / τ) / Σ_{a ≠ i} exp(z_i·z_a / τ) ), P(i) the
    other views of i's class, z the projected features (weights.classifier=projected) of length 1. Answers: the class whose
    remembered samples' mean feature is nearest, all of length 1.

    Differences: (1) the second view is a random piece of the image, of `crop` to 1 of its area, brought back to its size,
    and mirrored where training mirrors; the paper also shifts colours and greys. Samples that are no images have two equal
    views. (2) The first steps, with an empty memory, learn from the batch alone; the code skips them. (3) On weights that
    depend on the task, each remembered sample passes its own task's network; what is alike is compared all the same.
    """

    temperature: Positive = 0.07
    """τ > 0. Published: 0.07."""
    crop: Probability = 0.2
    """Least share of an image's area that its second view shows, at least 0 and below 1. Published: 0.2."""
    memory: MemoryOptions = MemoryOptions(batch_size=100)
    """The replay memory. Published: 100 samples rehearsed beside 10 of the stream."""

    @property
    def needs_boundaries(self) -> bool:
        return False

    def init(self, learner: Learner) -> SCRState:
        with projections(learner.model.target):  # an error for a network without one
            return SCRState(rehearsal.empty_memory(learner, self.memory))

    def begin_task(self, state: SCRState, learner: Learner) -> SCRState:
        return replace(state, means={})

    def draw(self, state: SCRState, learner: Learner, batch: Batch, rng: torch.Generator) -> SCRDraw:
        replay = rehearsal.rehearse(state.memory, learner, self.memory, rng)
        views = self._view(batch.raw, learner, rng)
        return SCRDraw(replay, views, None if replay is None else self._view(replay.raw, learner, rng))

    def _view(self, raw: Tensor, learner: Learner, rng: torch.Generator) -> Tensor:
        x = learner.preprocess(raw, None)
        if raw.ndim != 4:
            return x
        return piece(x, self.crop, learner.preprocess.flip, rng)

    def loss(self, net: Net, state: SCRState, batch: Batch, draw: SCRDraw) -> tuple[Tensor, Aux]:
        x, y = torch.cat([batch.x, draw.views]), [batch.y, batch.y]
        replays: list[Replay] = []
        if draw.replay is not None and draw.replay_views is not None:
            replays = [draw.replay, replace(draw.replay, x=draw.replay_views)]
            y += [draw.replay.y, draw.replay.y]
        with projections(net.model.target) as found:  # one for each forward, in their order
            rehearsal.forward(net, x, batch.task, replays, joint=False)
        value = contrast(F.normalize(torch.cat(found)), torch.cat(y), self.temperature)
        return value, Aux({"contrast": value.detach()})

    def end_task(self, state: SCRState, learner: Learner, task: Task, rng: torch.Generator) -> SCRState:
        with torch.no_grad(), evaluating(learner.model):
            return replace(state, means=nearest_mean.class_means(state.memory, learner, mirrors=False))

    def scores(self, state: SCRState, learner: Learner, x: Tensor, task: int) -> Tensor | None:
        means = state.means
        if not means and state.memory.filled:  # asked in the middle of a task
            means = nearest_mean.class_means(state.memory, learner, mirrors=False)
        return nearest_mean.nearness(means, learner, x, task)


def contrast(z: Tensor, y: Tensor, temperature: float) -> Tensor:
    """The supervised contrastive loss of rows z (n, d) of length 1 with classes y (n,), each of which occurs twice or more."""
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    alike = torch.where(itself, -torch.inf, z @ z.T / temperature)
    log_share = alike - alike.logsumexp(1, keepdim=True)
    positive = (y[:, None] == y) & ~itself
    return -(torch.where(positive, log_share, 0).sum(1) / positive.sum(1)).mean()


def piece(x: Tensor, least: float, mirror: bool, rng: torch.Generator) -> Tensor:
    """Of each image (B, C, H, W) a random piece of `least` to 1 of its area and of side ratio 3/4 to 4/3, at the image's size;
    with `mirror`, turned left to right with probability ½."""
    area, ratio, row, column, turn = torch.rand(5, len(x), generator=rng)
    area, ratio = least + (1 - least) * area, (4 / 3) ** (2 * ratio - 1)
    height, width = (area / ratio).sqrt().clamp_max(1), (area * ratio).sqrt().clamp_max(1)
    scale = torch.stack([torch.where(turn < 0.5, -width, width) if mirror else width, height], 1)
    shift = torch.stack([(2 * column - 1) * (1 - width), (2 * row - 1) * (1 - height)], 1)
    affine = torch.cat([torch.diag_embed(scale), shift[:, :, None]], 2).to(x)
    grid = F.affine_grid(affine, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
