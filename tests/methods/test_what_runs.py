"""The code under "What runs" in docs/methods/ does what the method does: the same weights after the same steps.

Each page's block is plain PyTorch. It starts where a run on a tiny stream starts and takes its three steps per task
on the same samples. `torch.rand` and `torch.randperm` give both sides what depends on the length alone, so that they
remember and rehearse the same samples.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hypermnesia.core.tensors import under_prefix
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.bic import is_held_out
from hypermnesia.methods.scr import SCR
from hypermnesia.nets import MLPOptions
from hypermnesia.nets.classifiers import with_classifier
from hypermnesia.nets.vae import VAEOptions
from hypermnesia.training.events import TaskStarted

PAGES = Path(__file__).parents[2] / "docs/methods"
BLOCK = re.compile(r"^## What runs\n.*?^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = (
    *("stream.tasks=3", "stream.classes_per_task=2", "stream.samples_per_task=24"),
    *("train.iterations=3", "train.batch_size=24", "train.threads=1", "evaluate.samples=2"),
)
SGD = ("optimizer.name=sgd", "lr=0.1")
MEMORY = ("memory.size=20", "memory.batch_size=15")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    def rand(*size: Any, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
        size = torch.empty(*size, device="meta").shape
        return (0.618034 * torch.arange(1, 1 + size.numel(), dtype=dtype or torch.float32) % 1).reshape(size)

    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(torch, "randn", lambda *size, **_: 4 * rand(*size) - 2)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n).flip(0))


def page(name: str) -> dict[str, Any]:
    """What the block of the page defines."""
    block = BLOCK.search((PAGES / f"{name}.md").read_text("utf-8"))
    assert block is not None, f"docs/methods/{name}.md has no section What runs"
    namespace: dict[str, Any] = {}
    exec(compile(block[1], f"docs/methods/{name}.md", "exec"), namespace)
    return namespace


class Run:
    """A finished run, what it held when each task began, and what it learned from."""

    def __init__(self, approach: str, *words: str, hidden: tuple[int, ...] = (8,)) -> None:
        units = ",".join(map(str, hidden))
        run = build(resolve("split-digits", approach, [*TINY, f"net.hidden=[{units}]", *words]), seed=0)
        self.learner, self.begun, self.run = run.learner, [], run
        for event in run:
            if isinstance(event, TaskStarted):
                held = {
                    prefix + name: value.detach().clone()
                    for prefix, model in (("", self.learner.model), ("vae/", self.learner.models.get("vae")))
                    for name, value in (model.stored().items() if model is not None else ())
                }
                self.begun.append(held)
        outputs = 6 if self.learner.model.head.kind == "shared" else 2
        self.net = MLPOptions(hidden=hidden).build((1, 8, 8), outputs)
        self.net.load_state_dict(under_prefix("target.", self.begun[0]), strict=False)
        """The target as the run found it."""
        self.tasks = []
        for task in run.stream.tasks:
            raw, y = task.train.batch(torch.randperm(len(task.train)))
            self.tasks.append((self.learner.preprocess(raw, None), self.learner.targets(y, task.index)))
        self.weights = [self.learner.model.task_state(task) for task in range(3)]

    def of_tasks(self, name: str) -> list[Tensor]:
        """The first values of what is stored for each task, such as its embedding."""
        return [begun[name.format(task)].clone() for task, begun in enumerate(self.begun)]

    def hypernetwork(self, made: nn.Module, last: str = "out", of: str = "") -> nn.Module:
        """`made` with the weights that the generator started with."""
        linear = [part for part in made.modules() if isinstance(part, nn.Linear)]
        start = under_prefix(f"{of}generator.", self.begun[0])
        with torch.no_grad():
            for i, part in enumerate(linear[:-1]):
                part.weight.copy_(start[f"trunk.layers.{i}.weight"])
                part.bias.copy_(start[f"trunk.layers.{i}.bias"])
            linear[-1].weight.copy_(start[f"{last}.weight"][:, :-1])
            linear[-1].bias.copy_(start[f"{last}.weight"][:, -1])
            if "chunks.weight" in start:
                made.get_parameter("chunks").copy_(start["chunks.weight"])
        return made

    def assert_equal(self, found: list[dict[str, Tensor]]) -> None:
        """The weights of each task."""
        for ours, theirs in zip(found, self.weights, strict=True):
            for name, value in theirs.items():
                told = f"{name}: {{}}".format
                torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=told)


@pytest.mark.parametrize(
    ("name", "words", "settings"),
    [
        ("er", MEMORY, {"size": 20, "count": 15}),
        ("der", MEMORY, {"size": 20, "count": 15}),
        ("derpp", MEMORY, {"size": 20, "count": 15}),
        ("er-ace", MEMORY, {"size": 20, "count": 15}),
        ("mir", (*MEMORY, "candidates=18"), {"size": 20, "count": 15, "candidates": 18}),
        ("fdr", MEMORY, {"size": 20, "count": 15}),
        ("agem", MEMORY, {"size": 20, "count": 15}),
        ("gem", ("memory.size=20",), {"size": 20}),
        ("gss", (*MEMORY, "compared=7"), {"size": 20, "count": 15, "compared": 7}),
        (
            "mer",
            (*MEMORY, "beta=0.5", "method.gamma=0.7", "batches=3"),
            {"size": 20, "count": 15, "beta": 0.5, "gamma": 0.7, "batches": 3},
        ),
        ("hcr", (*MEMORY, "alpha=0.5", "rank=0.5"), {"size": 20, "count": 15, "alpha": 0.5, "rank": 0.5}),
        ("ewc", (), {}),
        ("mas", (), {}),
        ("si", (), {}),
        ("lwf", (), {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_network_for_all_tasks(name: str, words: tuple[str, ...], settings: dict[str, Any]) -> None:
    run = Run(name, *SGD, *words)
    page(name)["train"](run.net, run.tasks, steps=3, lr=0.1, **settings)
    run.assert_equal([dict(run.net.named_parameters())] * 3)


PLAIN = {"rule": torch.optim.SGD, "lr": 0.1, "steps": 3}  # Adam would make much of a rounding error


def test_hnet() -> None:
    run = Run("hnet", *SGD, "generator.chunk=200", "drift.beta=0.5")
    code = page("hnet")
    h = run.hypernetwork(code["Hypernetwork"](538, chunk=200))
    starts = run.of_tasks("generator.embeddings.{}")
    run.assert_equal(code["train"](run.net, h, run.tasks, starts, beta=0.5, **PLAIN))


def test_hypermask() -> None:
    run = Run("hypermask", *SGD, "mask.sparsity=30", "drift.beta=0.5", "anchor.strength=0.1")
    code = page("hypermask")
    h = run.hypernetwork(code["Hypernetwork"](536))
    starts, settings = run.of_tasks("generator.embeddings.{}"), {"sparsity": 30, "strength": 0.1}
    run.assert_equal(code["train"](run.net, h, run.tasks, starts, beta=0.5, **settings, **PLAIN))


def test_phn() -> None:
    run = Run("phn", *SGD, "drift.beta=0.5", "drift.look_ahead_lr=0.1")
    code = page("phn")
    h = run.hypernetwork(code["Hypernetwork"](16), "heads.0.out")
    starts = run.of_tasks("generator.embeddings.{}")
    biases = [nn.Parameter(bias) for bias in run.of_tasks("rows.{}.head/bias")]
    run.assert_equal(code["train"](run.net, h, run.tasks, starts, biases, beta=0.5, ahead=0.1, **PLAIN))


def test_hnet_replay() -> None:
    words = [f"method.replay.generator.{word}" for word in ("chunk=200", "embedding=8", "chunk_embedding=8")]
    words += [f"method.replay.vae.{word}" for word in ("encoder=[9]", "decoder=[7]", "latent=5", "code=4")]
    run = Run("hnet-replay", *SGD, *words, "drift_vae.beta=0.5")
    code = page("hnet-replay")
    vae = VAEOptions(encoder=(9,), decoder=(7,), latent=5, code=4).build((1, 8, 8))
    vae.load_state_dict(under_prefix("vae/target.", run.begun[0]), strict=False)
    size = sum(p.numel() for p in vae.decoder.parameters())
    h = run.hypernetwork(code["Hypernetwork"](size, chunk=200, embedding=8, chunk_embedding=8), of="vae/")
    raw = [task.train.batch(torch.randperm(len(task.train))) for task in run.run.stream.tasks]
    tasks = [(x.float() / 255, y) for x, y in raw]
    starts = run.of_tasks("vae/generator.embeddings.{}")

    def normalise(x: Tensor) -> Tensor:
        return run.learner.preprocess(255 * x.view(-1, 1, 8, 8), None)

    nets = (run.net, vae.encoder, vae.decoder, h)
    code["train"](*nets, tasks, starts, normalise, latent=5, codes=4, beta=0.5, **PLAIN)
    run.assert_equal([dict(run.net.named_parameters())] * 3)
    expected = run.learner.models["vae"].task_state(0)["decoder.head.weight"]
    torch.testing.assert_close(h(0)[-64 * 7 - 64 : -64].view(64, 7), expected, rtol=1e-4, atol=1e-5)


def test_latent_replay() -> None:
    words = ("weights.cut=layer1", "memory.size=12", "memory.batch_size=12")
    run = Run("latent-replay", *SGD, *words, hidden=(8, 6))
    body, tail = run.net[:2], run.net[2:]
    tasks = [(x.flip(0), y.flip(0)) for x, y in run.tasks]  # it remembers them in their own order
    page("latent-replay")["train"](body, tail, tasks, size=12, count=12, steps=3)
    run.assert_equal([dict(run.net.named_parameters())] * 3)


def test_icarl() -> None:
    run = Run("icarl", *SGD, "memory.size=12", "memory.batch_size=12", hidden=(20,))
    answer = page("icarl")["train"](run.net, run.net[:2], run.tasks, size=12, count=12, steps=3)
    run.assert_equal([dict(run.net.named_parameters())] * 3)
    raw = torch.cat([task.test.batch(torch.arange(len(task.test)))[0] for task in run.run.stream.tasks])
    found = answer(run.learner.preprocess(raw, None))
    assert found.tolist() == run.learner.answer(raw).classes.tolist()


def test_scr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SCR, "_view", lambda _, raw, learner, rng: learner.preprocess(raw, None))
    run = Run("scr", *SGD, *MEMORY, "weights.projection=5", "weights.cosine_scale=1")
    net = with_classifier(run.net, "projected", 1.0, 5)
    net.load_state_dict(under_prefix("target.", run.begun[0]))
    code = page("scr")
    answer = code["train"](net[:2], net.head.projection, run.tasks, size=20, count=15, lr=0.1, steps=3)
    run.assert_equal([dict(net.named_parameters())] * 3)
    raw = torch.cat([task.test.batch(torch.arange(len(task.test)))[0] for task in run.run.stream.tasks])
    found = answer(run.learner.preprocess(raw, None))
    assert found.tolist() == run.learner.answer(raw).classes.tolist()


def test_hal() -> None:
    run = Run("hal", *SGD, "memory.size=20", "memory.batch_size=20", "strength=0.5", "anchor_steps=4")
    settings = {"strength": 0.5, "size": 20, "count": 20, "steps": 3, "anchor_steps": 4}
    page("hal")["train"](run.net, run.net[:2], run.tasks, **settings)
    run.assert_equal([dict(run.net.named_parameters())] * 3)


def test_clser() -> None:
    run = Run("clser", *SGD, *MEMORY, "strength=0.7", "stable_alpha=0.6", "plastic_alpha=0.4")
    settings = {
        "strength": 0.7,
        "plastic": (0.4, 0.9),
        "stable": (0.6, 0.7),
        "size": 20,
        "count": 15,
        "steps": 3,
    }
    stable = page("clser")["train"](run.net, run.tasks, **settings)
    run.assert_equal([dict(run.net.named_parameters())] * 3)
    for name, value in stable.named_parameters():
        torch.testing.assert_close(
            run.learner.state.stable[f"target.{name}"], value.detach(), rtol=1e-4, atol=1e-5
        )


def test_xder(monkeypatch: pytest.MonkeyPatch) -> None:
    rand = torch.rand  # small enough for three updates of every sample
    monkeypatch.setattr(torch, "rand", lambda *size, **given: rand(*size, **given) / 3)
    run = Run("xder", *SGD, "memory.size=150", "memory.batch_size=150", "eta=0.5", "alpha=0.5")
    page("xder")["train"](run.net, run.tasks, alpha=0.5, eta=0.5, size=150, count=150, steps=3)
    run.assert_equal([dict(run.net.named_parameters())] * 3)


def test_lucir() -> None:
    run = Run("lucir", *SGD, "memory.size=12", "memory.batch_size=12")
    net = with_classifier(run.net, "cosine", 1.0, 5)
    net.load_state_dict(under_prefix("target.", run.begun[0]))
    page("lucir")["train"](net[:2], net.head.weight, net.head.scale, run.tasks, size=12, count=12, steps=3)
    run.assert_equal([dict(net.named_parameters())] * 3)


def test_bic() -> None:
    run = Run("bic", *SGD, "memory.size=200", "memory.batch_size=200", "held_out=0.3")
    raw = [task.train.batch(torch.randperm(len(task.train)))[0] for task in run.run.stream.tasks]
    tasks = [(x, y, is_held_out(r, 0.3)) for (x, y), r in zip(run.tasks, raw, strict=True)]
    answer = page("bic")["train"](run.net, tasks, size=140, held=60, count=200, steps=3)
    run.assert_equal([dict(run.net.named_parameters())] * 3)
    tests = torch.cat([task.test.batch(torch.arange(len(task.test)))[0] for task in run.run.stream.tasks])
    found = answer(run.learner.preprocess(tests, None)).argmax(1)
    assert found.tolist() == run.learner.answer(tests).classes.tolist()


def test_packnet() -> None:
    run = Run("packnet", *SGD)
    starts = zip(run.of_tasks("rows.{}.head/weight"), run.of_tasks("rows.{}.head/bias"), strict=True)
    heads = [(nn.Parameter(weight), nn.Parameter(bias)) for weight, bias in starts]
    body = run.net[:2]
    answer = page("packnet")["train"](body, heads, run.tasks, steps=3, again=1)
    names = ("head.weight", "head.bias")
    run.assert_equal([dict(body.named_parameters()) | dict(zip(names, own, strict=True)) for own in heads])
    x = run.tasks[0][0]
    with torch.no_grad():
        for task in range(3):
            torch.testing.assert_close(answer(x, task), run.learner.scores(x, task), rtol=1e-4, atol=1e-5)


def test_gdumb() -> None:
    run = Run("gdumb", "memory.size=12", "method.epochs=3", "method.batch_size=12", "method.cutmix=0")
    page("gdumb")["train"](run.net, run.tasks, size=12, epochs=3, batch=12)
    run.assert_equal([dict(run.net.named_parameters())] * 3)
