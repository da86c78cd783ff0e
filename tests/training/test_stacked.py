"""Seeds that train together are the runs that they are by themselves."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from running import said

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Preprocess
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.methods.base import Method
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.hal import HAL
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay.rehearsal import MemoryOptions
from hypermnesia.runs.directory import environment_of, read_result
from hypermnesia.runs.execute import execute_seeds, resume
from hypermnesia.runs.recorder import Interrupted, Listener
from hypermnesia.training import checkpoint
from hypermnesia.training.events import Event, StepDone, TaskEnded
from hypermnesia.training.graphs import SIGHTS
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.training.stackable import why_apart
from hypermnesia.training.stacked import Stack, together

TINY = [
    "stream.tasks=3",
    "train.iterations=12",
    "train.batch_size=6",
    "train.threads=1",
    "evaluate.samples=20",
]
MEMORY = ["memory.size=20", "memory.batch_size=6"]
HNET = ["drift.look_ahead=none", "generator.chunk=500"]


def runs(approach: str, *words: str, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Fit]:
    cfg = resolve("split-digits", approach, [*TINY, *words])
    return [build(cfg, seed) for seed in seeds]


def values(run: Fit) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in run.learner.model.stored().items()}


def assert_alike(ours: Fit, theirs: Fit) -> None:
    """Equal but for the rounding of matrix products, which Adam's first steps make larger where a gradient is near 0."""
    first, second = values(ours), values(theirs)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-2, atol=2e-3, msg=name)
    assert ours.records.steps == theirs.records.steps
    assert ours.records.rows.keys() == theirs.records.rows.keys()


@pytest.mark.parametrize(
    ("approach", "words"),
    [
        ("finetune", ["optimizer.name=sgd", "optimizer.momentum=0.9", "lr=0.05"]),
        ("finetune", ["train.clip=0.5", "train.check=all"]),
        ("er", ["train.compile=true", *MEMORY]),
        ("latent-replay", ["cut=layer1", "net.hidden=[20,20]", *MEMORY]),
        ("si", []),
        ("hnet", [*HNET, "optimizer.name=sgd", "lr=0.01"]),
        ("hnet", ["drift.look_ahead=none", "weights=lora", "optimizer.name=sgd", "lr=0.01"]),
        ("phn", ["drift.look_ahead=none", "cut=none", "optimizer.name=sgd", "lr=0.001"]),
        ("phn", ["cut=none", "optimizer.name=sgd", "lr=0.001"]),
        ("hnet", ["generator.chunk=500", "drift.look_ahead=optimizer", "lr=0.001"]),
        (
            "hnet",
            [
                "generator.chunk=500",
                "drift.look_ahead=optimizer",
                "drift.second_order=true",
                "optimizer.name=sgd",
                "lr=0.01",
            ],
        ),
        ("agem", [*MEMORY, "optimizer.name=sgd", "lr=0.1"]),
        ("gem", [*MEMORY, "optimizer.name=sgd", "lr=0.1"]),
        ("hal", [*MEMORY, "optimizer.name=sgd", "lr=0.1", "method.anchor_steps=3"]),
    ],
)
def test_each_run_is_what_it_is_by_itself(approach: str, words: list[str]) -> None:
    stacked, single = runs(approach, *words), runs(approach, *words)
    heard: list[list[Event]] = [[] for _ in stacked]
    for i, event in together(stacked):
        heard[i].append(event)
    for i, run in enumerate(single):
        alone = list(run)
        assert [type(e) for e in alone] == [type(e) for e in heard[i]]
        assert_alike(stacked[i], run)
        losses, apart = (
            [float(e.loss) for e in each if isinstance(e, StepDone)] for each in (heard[i], alone)
        )
        assert losses == pytest.approx(apart, rel=0.02, abs=2e-3)


@pytest.mark.parametrize(
    ("approach", "words", "varied"),
    [
        ("finetune", ["optimizer.name=sgd"], ["lr=0.1", "lr=0.02", "lr=0.3"]),
        ("er", [*MEMORY, "optimizer.schedule=cosine"], ["lr=0.001", "lr=0.003", "lr=0.0001"]),
        ("finetune", ["optimizer.name=adamw", "optimizer.weight_decay=0.1"], ["lr=0.001", "lr=0.003"]),
        ("derpp", MEMORY, ["alpha=0.1 beta=1.0 lr=0.001", "alpha=0.7 beta=0.2 lr=0.002"]),
        ("hcr", MEMORY, ["beta=0.9 rank=0.01", "beta=0.2 rank=0.5"]),
        ("ewc", [], ["strength=1.0", "strength=100.0"]),
        ("gem", [*MEMORY, "optimizer.name=sgd"], ["method.gamma=0.1 lr=0.1", "method.gamma=1.0 lr=0.05"]),
        (
            "hnet",
            [
                "generator.chunk=500",
                "drift.look_ahead=optimizer",
                "optimizer.name=sgd",
                "optimizer.momentum=0.5",
            ],
            ["drift.beta=0.01 lr=0.005", "drift.beta=0.1 lr=0.001"],
        ),
        ("lwf", [], ["alpha=0.5", "alpha=3.0"]),
        (
            "hnet",
            [*HNET, "optimizer.name=sgd"],
            ["drift.beta=0.01 lr=0.005", "drift.beta=0.1 lr=0.001"],
        ),
    ],
)
def test_runs_that_differ_in_numbers(approach: str, words: list[str], varied: list[str]) -> None:
    def several() -> list[Fit]:
        return [runs(approach, *words, *more.split(), seeds=(0,))[0] for more in varied]

    stacked, single = several(), several()
    for _ in together(stacked):
        pass
    small.all_of(single)
    for ours, theirs in zip(stacked, single, strict=True):
        assert_alike(ours, theirs)
    first, second = values(single[0]), values(single[1])
    apart = max(float((first[name] - second[name]).abs().max()) for name in first)
    assert apart > 5e-3, "the numbers make no difference, and so the test none either"


@pytest.mark.parametrize(
    ("weights", "method"),
    [
        ("hyper", lambda number: combine(Finetune(), Drift(scales=(number, 2.0)))),
        ("plain", lambda number: HAL(strength=number, memory=MemoryOptions(size=8, policy="ring"))),
    ],
)
def test_no_step_asks_what_a_number_is(weights: Any, method: Callable[[float], Method]) -> None:
    def several() -> list[Fit]:
        train, sgd = (
            TrainOptions(iterations=2, batch_size=4, threads=1),
            OptimizerOptions(name="sgd", lr=0.05),
        )
        return [small.run(None, weights, method(number), train, optimizer=sgd) for number in (0.1, 0.9)]

    stacked, single = several(), several()
    for _ in together(stacked):
        pass
    small.all_of(single)
    for ours, theirs in zip(stacked, single, strict=True):
        torch.testing.assert_close(values(ours), values(theirs))


def test_runs_that_differ_in_more_than_numbers() -> None:
    def said(approach: str, *each: str) -> str:
        return why_apart([runs(approach, *words.split(), seeds=(0,))[0] for words in each])

    several = runs("finetune", seeds=(0, 1))
    several[1].learner.preprocess = Preprocess(mean=(0.1,))
    assert why_apart(several) == "their samples are normalised by numbers of their own"
    assert said("er", "memory.size=20", "memory.size=30") == "their methods differ in more than numbers"
    assert said("finetune", "optimizer.betas=[0.9,0.99]", "optimizer.betas=[0.8,0.99]") == (
        "their optimizers differ in more than learning rates"
    )
    assert said(
        "hnet", "drift.look_ahead=none embedding_lr=0.1", "drift.look_ahead=none embedding_lr=0.001"
    ).startswith("the embeddings of some have a learning rate")


def test_memories_hold_the_same_samples() -> None:
    stacked, single = runs("er", *MEMORY), runs("er", *MEMORY)
    small.all_of(single)
    for _ in together(stacked):
        pass
    for ours, theirs in zip(stacked, single, strict=True):
        assert torch.equal(ours.learner.state.memory.x, theirs.learner.state.memory.x)
        assert torch.equal(ours.rngs["method"].get_state(), theirs.rngs["method"].get_state())
        assert torch.equal(ours.rngs["order"].get_state(), theirs.rngs["order"].get_state())


def test_a_stacked_step_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one by one behind the scenes: a loss is computed once for all, and not at all once it is recorded."""
    calls: list[Any] = []
    pair = runs("finetune")
    plain = type(pair[0].method).loss
    monkeypatch.setattr(type(pair[0].method), "loss", lambda *args: calls.append(args) or plain(*args))
    for _ in together(pair):
        pass
    assert pair[0].records.steps == 36
    assert len(calls) == 3 * (SIGHTS + 1)


def test_one_that_lags_behind_catches_up() -> None:
    stacked, single = runs("er", *MEMORY), runs("er", *MEMORY)
    small.all_of(single)
    for _ in stacked[1]:
        if stacked[1].records.steps == 17:
            break
    for _ in together(stacked):
        pass
    for ours, theirs in zip(stacked, single, strict=True):
        assert_alike(ours, theirs)


def _ends_training(event: Event) -> bool:
    return isinstance(event, StepDone) and event.task == 1 and event.step == event.steps


def _ends_a_task(event: Event) -> bool:
    return isinstance(event, TaskEnded) and event.task == 1


@pytest.mark.parametrize("ends", [_ends_training, _ends_a_task])
@pytest.mark.parametrize(("approach", "words"), [("hnet", HNET), ("ewc", []), ("er", MEMORY)])
def test_a_stack_goes_on_exactly_from_the_end_of_a_task(
    approach: str, words: list[str], ends: Callable[[Event], bool], tmp_path: Path
) -> None:
    """What a task ends and begins with is computed from the parameters, and rounds by how they lie in memory."""
    whole = runs(approach, *words)
    for i, event in together(whole):
        if ends(event):
            checkpoint.save(whole[i], tmp_path / str(i))
    again = runs(approach, *words)
    for i, run in enumerate(again):
        assert checkpoint.load(run, tmp_path / str(i), pytest.fail) is not None
    assert [event for _, event in together(again)]
    for one, other in zip(whole, again, strict=True):
        first, second = values(one), values(other)
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("approach", "words", "said"),
    [
        ("mir", MEMORY, "its gradients are computed in a way of their own"),
        ("gdumb", MEMORY[:1], "it does more than train on each task's samples"),
        ("finetune", ["net.dropout=0.5"], "the network has dropout, noise or running statistics"),
        ("finetune", ["net=resnet18", "net.width=4"], "the network has dropout, noise or running statistics"),
    ],
)
def test_what_cannot_be_stacked_says_why(approach: str, words: list[str], said: str) -> None:
    some = runs(approach, *words)
    assert why_apart(some).startswith(said)
    with pytest.raises(HypermnesiaError, match="these runs cannot be stacked: " + said):
        list(together(some))


def test_one_seed_is_not_stacked() -> None:
    assert why_apart(runs("er", *MEMORY, seeds=(0,))) == "there is only one seed"
    assert Stack(runs("er", *MEMORY)).runs[0].records.steps == 0


# --------------------------------------------------------------------------------------------- in run directories


def results(directory: Path, seeds: tuple[int, ...] = (0, 1, 2)) -> list[dict[str, Any]]:
    return [read_result(directory / f"seed-{seed}") or {} for seed in seeds]


def matrices(directory: Path) -> list[Any]:
    return [result["scenarios"]["task"]["matrix"] for result in results(directory)]


def test_directories_are_those_of_single_seeds(tmp_path: Path) -> None:
    cfg = resolve("split-digits", "er", [*TINY, *MEMORY])
    execute_seeds(cfg, [0, 1, 2], tmp_path / "together", stacked="on")
    execute_seeds(cfg, [0, 1, 2], tmp_path / "apart")
    names = [sorted(p.name for p in (tmp_path / d / "seed-1").iterdir()) for d in ("together", "apart")]
    assert names[0] == names[1]
    assert matrices(tmp_path / "together") == matrices(tmp_path / "apart")
    assert environment_of(tmp_path / "together" / "seed-1")["stacked_with"] == [0, 1, 2]


def test_asked_to_stop_all_save_themselves_and_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them by itself, the others together again."""
    cfg = resolve("split-digits", "er", [*TINY, *MEMORY])
    steps: list[int] = []

    @contextlib.contextmanager
    def listen(cfg: Config, seed: int, directory: Path) -> Iterator[Listener]:
        def hear(event: Event) -> None:
            if isinstance(event, StepDone):
                steps.append(event.step)
                if len(steps) == 50:
                    signal.raise_signal(signal.SIGTERM)

        yield hear

    with pytest.raises(
        Interrupted, match="go on with: hypermnesia resume .*stopped, which finishes seeds 0, 1, 2"
    ):
        execute_seeds(cfg, [0, 1, 2], tmp_path / "stopped", stacked="on", listen=listen)
    assert results(tmp_path / "stopped") == [{}, {}, {}]
    resume(tmp_path / "stopped" / "seed-1")
    execute_seeds(cfg, [0, 1, 2], tmp_path / "stopped", stacked="on")
    execute_seeds(cfg, [0, 1, 2], tmp_path / "apart")
    assert matrices(tmp_path / "stopped") == matrices(tmp_path / "apart")
    assert [r["costs"]["steps"] for r in results(tmp_path / "stopped")] == [36, 36, 36]


def test_on_refuses_and_auto_goes_on_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cfg = resolve("split-digits", "mir", [*TINY, *MEMORY])
    with pytest.raises(
        HypermnesiaError,
        match="--stack on: the seeds of mir cannot be stacked: its gradients are computed in",
    ):
        execute_seeds(cfg, [0, 1], tmp_path / "run", stacked="on")
    assert not (tmp_path / "run").exists()
    execute_seeds(cfg, [0, 1], tmp_path / "run", stacked="auto")
    assert "the seeds of mir run one after another: its gradients are computed in" in capsys.readouterr().err
    assert len(results(tmp_path / "run", (0, 1))) == 2


def test_a_run_that_fails_is_told_once(tmp_path: Path) -> None:
    cfg = resolve("split-digits", "finetune", [*TINY, "optimizer.name=sgd", "lr=1e30"])
    with pytest.raises(RunFailed, match="^the loss became .* no checkpoint had been written yet$") as failed:
        execute_seeds(cfg, [0, 1], tmp_path / "run", stacked="on")
    assert str(failed.value).count("checkpoint") == 1


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["run", "split-digits", "er", *TINY, *MEMORY, "--seeds", "0..1", "--out", "o"]
    assert said(capsys, *words, "--stack", "maybe").code == 2
    done = said(capsys, *words, "--stack", "on")
    assert done.code == 0 and "2 seeds" in done.out, done.err
