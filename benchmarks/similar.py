"""A new task's embedding from the most similar earlier one: a start, and a pull towards it (after H-embedding, 2502.11609).

    python -m benchmarks.similar --data-dir data [--seeds 0,1,2] [--steps 30,150] [--only drawn]

MNIST under four angles that come back twice, each time turned four degrees further: twelve tasks, of which eight have a near
one before them. How near an earlier task is, its network says: by the H-score of its hidden features on the new task's samples
(Bao et al. 2019), tr(cov(f)⁻¹ cov(E[f | y])); by the likelihood that it gives their labels; by the share of them that it
answers, beside the share of its own (what is built); or, as a bound for every such measure, the angle that comes back is known.
Prints a Markdown table of means ± standard deviations over seeds.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

import hypermnesia as hm
from hypermnesia.data import Stream, Task
from hypermnesia.data.build import Cut, build, capped
from hypermnesia.data.sources.registry import open_source
from hypermnesia.data.transforms import Rotations
from hypermnesia.evaluation.metrics import forgetting
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.learner import Learner, Net
from hypermnesia.nets import MLPOptions
from hypermnesia.training.events import TaskStarted
from hypermnesia.training.loop import Fit
from hypermnesia.weights import ChunkedOptions
from hypermnesia.weights.model import evaluating
from hypermnesia.weights.options import of_kind

ANGLES = [base + 4 * again for again in range(3) for base in (0, 45, 90, 135)]
TASKS = len(ANGLES)
SAMPLES = 500
"""Of a new task, that earlier networks are asked about."""
SHARPNESS = 4.0
"""Factor of H-scores in the softmax that weighs earlier embeddings."""


def h_score(features: Tensor, y: Tensor) -> float:
    """tr(cov(f)⁻¹ cov(E[f | y])) of features (n, d) and labels (n,), 0 to classes − 1; cov(f) is shrunk by a hundredth."""
    f = (features - features.mean(0)).double()
    means = torch.stack([f[y == c].mean(0) for c in y.unique()])[torch.searchsorted(y.unique(), y)]
    whole, between = f.T @ f / len(f), means.T @ means / len(f)
    shrunk = whole + 0.01 * whole.trace() / len(whole) * torch.eye(len(whole), dtype=whole.dtype)
    return torch.linalg.solve(shrunk, between).trace().item()


@dataclass(frozen=True, kw_only=True)
class Similar(Penalty):
    """strength · ‖e_t − Σ_j s_j e_j‖², s being the softmax of the earlier tasks' H-scores. e_t starts as the likeliest e_j."""

    name: ClassVar[str] = "similar"
    strength: float = 0.0
    by: Literal["h-score", "likelihood", "known"] = "h-score"

    @torch.no_grad()
    def see_task(self, state: Any, learner: Learner, task: Task) -> Tensor | None:
        generator = learner.model.generator
        assert generator is not None
        if learner.task < (4 if self.by == "known" else 1):
            return None
        raw, y = task.train.batch(torch.arange(min(SAMPLES, len(task.train))))
        x, net = learner.preprocess(raw, None), Net(learner.model)
        with evaluating(learner.model):
            found = torch.tensor([self._likeness(net, x, y, j, learner.task) for j in range(learner.task)])
        generator.embeddings[learner.task].copy_(generator.embeddings[int(found.argmax())])
        weights = (SHARPNESS * found).softmax(0)
        return torch.einsum("j,jk->k", weights, generator.embeddings.pick(range(learner.task)))

    def _likeness(self, net: Net, x: Tensor, y: Tensor, j: int, task: int) -> float:
        if self.by == "known":
            return float(j == task - 4)
        features, logits = net.features(x, j)
        return h_score(features, y) if self.by == "h-score" else -F.cross_entropy(logits, y).item()

    def value(self, net: Net, state: Tensor | None, draw: None) -> Tensor | None:
        if state is None or not self.strength:
            return None
        own = net.params[f"generator.embeddings.{net.model.num_tasks - 1}"]
        return self.strength * (own - state).square().sum()


BUILT = "generator.condition=similar"
WAYS: dict[str, tuple[Similar | None, str]] = {
    "drawn": (None, "random"),
    "the previous task's": (None, "previous"),
    "the most similar task's": (Similar(), "random"),
    "the same, pulled 0.01": (Similar(strength=0.01), "random"),
    "the same, pulled 0.1": (Similar(strength=0.1), "random"),
    "the likeliest task's": (Similar(by="likelihood"), "random"),
    BUILT: (None, "random"),
    "the known angle's": (Similar(by="known"), "random"),
    "the known angle's, pulled 0.1": (Similar(by="known", strength=0.1), "random"),
}


def angles(seed: int, data_dir: Path) -> Stream:
    """The twelve tasks, 1,000 images of each for training."""
    source = open_source("mnist", data_dir=data_dir)
    classes = tuple(range(len(source.class_names)))
    train, test = torch.arange(len(source.train)), torch.arange(len(source.test))
    cuts = [Cut(f"{angle} degrees", classes, train, test, t, t) for t, angle in enumerate(ANGLES)]
    turned = Rotations(torch.tensor(ANGLES, dtype=torch.float64), "nearest")
    return capped(build("angles", source, cuts, transform=turned, shared_labels=True), 1000, seed)


def run(stream: Stream, way: str, steps: int, seed: int) -> tuple[float, float, float, float]:
    """Percent: accuracy of a returning task before its first step, at its end, of all tasks at the end, forgotten."""
    guide, start = WAYS[way]
    options = ChunkedOptions(compression=1.0, condition="similar" if way == BUILT else "free")
    weights = of_kind(
        "hyper",
        embedding_init=start,
        generator=options,
    )
    model = hm.model_for(
        stream, lambda outputs: MLPOptions(hidden=(50,)).build(stream.shape, outputs), weights, seed=seed
    )
    penalties = [hm.Drift(beta=0.01), *([guide] if guide else [])]
    fit = Fit(
        model,
        stream,
        hm.combine(hm.Finetune(), *penalties),
        hm.TrainOptions(iterations=steps, batch_size=64, threads=1),
        hm.OptimizerOptions(name="adam", lr=0.001),
        hm.EvaluateOptions(samples=1000, scenarios=("task",)),
        seeds=hm.Seeds(init=seed, order=seed, method=seed),
    )
    before = []
    for event in fit:
        if isinstance(event, TaskStarted) and event.task >= 4:
            raw, y = stream.tasks[event.task].test.batch(torch.arange(1000))
            before.append((fit.learner.answer(raw, event.task).classes == y).float().mean().item())
    rows = fit.records.rows["task"]
    own = [rows[t][t] or 0 for t in range(4, TASKS)]
    last = [accuracy or 0 for accuracy in rows[-1]]
    return 100 * mean(before), 100 * mean(own), 100 * mean(last), 100 * (forgetting(rows) or 0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--steps", default="30,150")
    parser.add_argument("--only", default="", help="rows whose name begins so")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    streams = {seed: angles(seed, given.data_dir) for seed in seeds}
    print("| embedding starts as | steps | before a step | at its end | all, at the end | forgotten |")
    print("|---|---|---|---|---|---|", flush=True)
    for steps in map(int, given.steps.split(",")):
        for way in [way for way in WAYS if way.startswith(given.only)]:
            found = zip(*(run(stream, way, steps, seed) for seed, stream in streams.items()), strict=True)
            cells = [f"{mean(of):.1f}" + (f" ± {stdev(of):.1f}" if len(seeds) > 1 else "") for of in found]
            print(f"| {way} | {steps} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
