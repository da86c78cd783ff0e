"""Synthetic run directories: what a run writes, without a run."""

import base64
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from hypermnesia.evaluation.figures import METRICS
from hypermnesia.report.draw.colours import png

NO_FIGURES = dict.fromkeys(figure.name for figure in METRICS)
HOSTILE = "<script>alert(1)</script>"
Matrix = list[list[float | None]]


def make_matrix(noise: random.Random, tasks: int, kept: float) -> Matrix:
    """Accuracy after each task: tasks fall by the factor `kept` with each later one."""

    def entry(after: int, test: int) -> float | None:
        return (
            None if test > after else min(1.0, (0.97 + noise.uniform(-0.02, 0.02)) * kept ** (after - test))
        )

    return [[entry(after, test) for test in range(tasks)] for after in range(tasks)]


def make_scenario(matrix: Matrix) -> dict[str, Any]:
    last = [value for value in matrix[-1] if value is not None]
    drops = [row[i] - matrix[-1][i] for i, row in enumerate(matrix[:-1])]  # type: ignore[operator]
    return {
        "matrix": matrix,
        "average_accuracy": sum(last) / len(last),
        "average_incremental_accuracy": 0.9,
        "forgetting": sum(drops) / len(drops) if drops else None,
        "backward_transfer": -sum(drops) / len(drops) if drops else None,
        "forward_transfer": None,
        "learning_accuracy": 0.97,
    }


def make_result(
    approach: str, seed: int, *, kept: float = 0.95, tasks: int = 5, **more: Any
) -> dict[str, Any]:
    noise = random.Random(f"{approach}/{seed}")
    return {
        "format": 1,
        "benchmark": "split-digits",
        "approach": approach,
        "seed": seed,
        "config_sha256": f"config of {approach}",
        "stream_sha256": f"stream of {seed}",
        "scenarios": {
            "task": make_scenario(make_matrix(noise, tasks, 1 - (1 - kept) / 4)),
            "class": make_scenario(make_matrix(noise, tasks, kept)),
        },
        "costs": {
            "trainable_parameters": 84_210 + 1000 * len(approach),
            "target_parameters": 84_210,
            "stored_bytes": 10 ** (3 + len(approach) % 4) * 3.3,
            "train_seconds": 12.5 + noise.random() * len(approach),
            "steps": 2000,
            "steps_per_second": 160.0,
            "peak_memory_bytes": None,
        },
        "class_names": [str(digit) for digit in range(2 * tasks)],
        "task_names": [f"digits {2 * t}, {2 * t + 1}" for t in range(tasks)],
        **more,
    }


def make_insides(tasks: int = 5) -> dict[str, Any]:
    """The optional keys of a result: inference, embeddings, masks, memory, anytime."""
    noise = random.Random(0)
    confusion = [[0.8 if i == j else 0.2 / (tasks - 1) for j in range(tasks)] for i in range(tasks)]
    tensors = ("body.0.weight", "body.0.bias", "body.2.weight", "head.weight")
    digit = [[(40 * i % 256, 20 * j % 256, 128) for j in range(8)] for i in range(8)]
    return {
        "infer": {"confusion": confusion},
        "embeddings": [[noise.gauss(0, 1) for _ in range(32)] for _ in range(tasks)],
        "masks": {
            "sparsity": {name: [0.3 + 0.1 * noise.random() for _ in range(tasks)] for name in tensors},
            "overlap": [[1.0 if i == j else 0.4 for j in range(tasks)] for i in range(tasks)],
        },
        "memory": {
            "classes": {str(c): 20 - c for c in range(2 * tasks)},
            "images": [base64.b64encode(png(digit)).decode()] * 30,
        },
        "anytime": {
            "class": {"average_anytime_accuracy": 0.9, "worst_case_accuracy": 0.8, "stability_gap": 0.05}
        },
    }


def make_events(seed: int, tasks: int = 5, steps: int = 60) -> list[dict[str, Any]]:
    """`drift` is a term of the loss."""
    noise = random.Random(seed)
    log: list[dict[str, Any]] = []
    for task in range(tasks):
        log.append({"event": "task_started", "task": task, "name": f"task {task}", "tasks": tasks})
        for step in range(1, steps + 1):
            drift = 0.02 * task * (1 + noise.random())
            error = 2.3 * math.exp(-step / 12) + 0.02 * noise.random()
            terms = {"cross_entropy": error, "drift": drift}
            log.append(make_step(task, step, error + drift, total=task * steps + step, terms=terms))
        log.append({"event": "task_ended", "task": task, "seconds": 2.0 * task})
    return [{"time": 0.0, **event} for event in log]


def make_step(task: int, number: int, loss: Any, total: int, **more: Any) -> dict[str, Any]:
    place = {"task": task, "phase": "train", "step": number, "steps": 60, "total_steps": total}
    return {"time": 0.0, "event": "step", **place, "loss": loss, "terms": {}, **more}


class Writer:
    """Writes run directories below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    result = staticmethod(make_result)
    insides = staticmethod(make_insides)
    scenario = staticmethod(make_scenario)

    def seed(self, run: str, result: dict[str, Any], config: str = "", events: bool = True) -> Path:
        """root/run/seed-K with every file of a finished run; figures that its scenarios do not name are null."""
        full = {name: NO_FIGURES | scenario for name, scenario in result["scenarios"].items()}
        result = result | {"scenarios": full}
        directory = self.root / run / f"seed-{result['seed']}"
        directory.mkdir(parents=True)
        (directory / "result.json").write_text(json.dumps(result), encoding="utf-8")
        text = f'benchmark = "split-digits"\nseed = {result["seed"]}\n{config}'
        (directory / "config.toml").write_text(text, encoding="utf-8")
        (directory / "environment.json").write_text(
            json.dumps({"python": "3.11.7", "device": {"name": "cpu", "threads": 2}}), encoding="utf-8"
        )
        if events:
            lines = (json.dumps(event) + "\n" for event in make_events(result["seed"]))
            (directory / "events.jsonl").write_text("".join(lines), encoding="utf-8")
        return directory

    def run(self, approach: str, seeds: int = 3, config: str = "", **more: Any) -> Path:
        """root/approach with `seeds` seeds and a summary."""
        for seed in range(seeds):
            self.seed(approach, make_result(approach, seed, **more), config)
        (self.root / approach / "summary.json").write_text("{}", encoding="utf-8")
        return self.root / approach

    def sweep(self, name: str = "sweep", **more: Any) -> Path:
        """A search over a learning rate that matters, a size that hardly does and a choice."""
        noise = random.Random(1)
        trials = []
        for number in range(24):
            rate, size = 10 ** noise.uniform(-4, -1), noise.choice([16, 32, 64, 128])
            net = noise.choice(["mlp", "lenet"])
            value = 0.9 - 0.1 * abs(math.log10(rate) + 2.5) + 0.01 * (net == "lenet") + 0.01 * noise.random()
            settings = {"train.lr": rate, "train.batch_size": size, "net": net}
            trials.append(
                {
                    "number": number,
                    "settings": settings,
                    "value": value,
                    "state": "complete",
                    "reason": None,
                    "seconds": 9.0,
                }
            )
        trials[5] |= {"value": None, "state": "failed", "reason": "loss became NaN at step 12"}
        trials[9] |= {"value": None, "state": "pruned"}
        known = {trial["number"]: trial["value"] for trial in trials if trial["value"] is not None}
        record = {
            "benchmark": "permuted-digits",
            "approach": "hnet",
            "space": {
                "train.lr": "log(1e-4,1e-1)",
                "train.batch_size": [16, 32, 64, 128],
                "net": ["mlp", "lenet"],
            },
            "objective": "validation.scenarios.class.average_accuracy",
            "trials": trials,
            "best": max(known, key=known.__getitem__),
            "final": {"seeds": 3, "average_accuracy": 0.874},
            **more,
        }
        directory = self.root / name
        directory.mkdir(parents=True)
        (directory / "sweep.json").write_text(json.dumps(record), encoding="utf-8")
        return directory


@pytest.fixture
def runs(tmp_path: Path) -> Writer:
    """A writer for the empty directory tmp_path/runs."""
    return Writer(tmp_path / "runs")


@pytest.fixture
def full(runs: Writer) -> Writer:
    """A comparison with bounds, variants, all optional keys, damage, hostile names, and a sweep."""
    insides = make_insides()
    runs.run("hnet", kept=0.97, **insides)
    for cut in ("layer1", "layer4"):
        for seed in range(3):
            result = make_result(
                "phn", seed, kept=0.93, config_sha256=f"cut {cut}", embeddings=insides["embeddings"]
            )
            runs.seed(f"phn-{cut}", result, f'[phn]\ncut = "{cut}"\n')
    runs.run("hypermask", kept=0.96, masks=insides["masks"])
    runs.run("hcr", kept=0.9, memory=insides["memory"], anytime=insides["anytime"])
    runs.run("finetune", kept=0.6)
    for seed in range(3):
        joint = make_result("joint", seed)
        noise = random.Random(seed)
        joint["scenarios"] = {
            name: make_scenario([[0.95 + 0.02 * noise.random() for _ in range(5)]])
            for name in ("task", "class")
        }
        runs.seed("joint", joint, events=False)
    hostile = make_result(HOSTILE, 0, kept=0.8, class_names=[HOSTILE] * 10, task_names=[HOSTILE] * 5)
    hostile["memory"] = {"classes": {HOSTILE: 3}, "images": ['"><img src=x onerror=alert(1)>']}
    hostile["masks"] = {"sparsity": {HOSTILE: [0.5] * 5}, "overlap": []}
    hostile["costs"] |= {"stored_bytes": 1e99, "train_seconds": 1e12, "trainable_parameters": 0}
    runs.seed("hostile", hostile, f"name = '{HOSTILE}'\n")
    broken = runs.seed("broken", make_result("er", 0))
    text = (broken / "result.json").read_text(encoding="utf-8")
    (broken / "result.json").write_text(text[: len(text) // 2], encoding="utf-8")
    runs.seed("newer", make_result("er", 0, format=2))
    runs.sweep()
    return runs
