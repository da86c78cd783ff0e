"""train.compile=true trains as without it, but for rounding, and goes on exactly after a stop."""

from pathlib import Path

import pytest
import torch
from exact import assert_equal_runs, resumed

from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.training.graphs import Graphs
from hypermnesia.training.loop import Fit
from hypermnesia.training.step import EARLY

SHORT = [
    "stream.tasks=3",
    f"train.iterations={EARLY + 6}",
    "train.batch_size=6",
    "train.threads=1",
    "evaluate.samples=20",
]
SGD = ["optimizer.name=sgd", "lr=0.02"]
MEMORY = ["memory.size=20", "memory.batch_size=6"]


def run_of(approach: str, *words: str) -> Fit:
    return build(resolve("split-digits", approach, [*SHORT, *words]), seed=0)


@pytest.mark.parametrize(
    ("approach", "words"),
    [
        ("finetune", [*SGD, "optimizer.schedule=cosine", "train.clip=1"]),
        ("finetune", [*SGD, "net.dropout=0.5"]),
        ("finetune", [*SGD, "train.precision=bf16"]),
        ("er", [*SGD, *MEMORY]),
        pytest.param("lwf", SGD, marks=pytest.mark.slow),
        pytest.param("agem", [*SGD, *MEMORY], marks=pytest.mark.slow),
        pytest.param("ewc", SGD, marks=pytest.mark.slow),
        pytest.param("hcr", [*SGD, *MEMORY], marks=pytest.mark.slow),
        pytest.param("hnet", ["optimizer.schedule=cosine"], marks=pytest.mark.slow),
        pytest.param("hypermask", [], marks=pytest.mark.slow),
        pytest.param("phn", ["cut=none"], marks=pytest.mark.slow),
    ],
)
def test_it_trains_as_without(approach: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    replays: list[int] = []
    plain = Graphs.__call__

    def counted(self: Graphs, *given: object) -> object:
        replays.append(self.recorded)
        return plain(self, *given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Graphs, "__call__", counted)
    ours, theirs = run_of(approach, *words, "train.compile=true"), run_of(approach, *words)
    assert len(list(ours)) == len(list(theirs))
    masked = approach == "hypermask"  # whose first task grows sparser until its last step
    assert len(replays) == (13 if masked else 3 * 6)
    first, second = ours.learner.model.stored(), theirs.learner.model.stored()
    for name, value in second.items():
        torch.testing.assert_close(
            first[name], value, rtol=1e-2, atol=2e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_it_goes_on_exactly(tmp_path: Path) -> None:
    def make() -> Fit:
        return run_of("er", *SGD, *MEMORY, "train.compile=true")

    whole = make()
    for _ in whole:
        pass
    assert_equal_runs(whole, resumed(make, [EARLY + 2, 2 * EARLY + 9], tmp_path))
