"""`python -m benchmarks.board --data-dir DIR`: seconds of training until a stated accuracy, ours beside other libraries' loops.

Every side of a race trains the same network by the same method and settings on the same samples, one pass over each task,
and is tested on the same images every few steps of the last task; testing is not timed. Processor time, one thread. Written
to `benchmarks/board.md`. Mammoth-style is a twin of the loop and the buffer as Mammoth arranges them; hypnettorch and Avalanche
are the libraries themselves, installed by `python -m benchmarks --peers`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks import machine, peers
from benchmarks.ours import settle
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Source, Stream, from_tensors, open_source, permuted, split
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.methods.combine import combine
from hypermnesia.methods.er import ER
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay.rehearsal import Fill, MemoryOptions
from hypermnesia.nets import LeNetOptions, MLPOptions
from hypermnesia.training.events import StepDone
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.weights import ChunkedOptions
from hypermnesia.weights.build import model_for

OUT = Path(__file__).parent / "board.md"
LOOKS = 20
"""Tests during the last task."""
TESTED = 200
"""Images of each task that are tested."""


@dataclass(frozen=True)
class Race:
    """One stream, method and accuracy, and who takes part."""

    about: str
    stream: Callable[[Path], Stream]
    net: Any
    wanted: float
    batch_size: int
    lr: float
    memory: int = 0
    """Samples kept and replayed with each batch; 0 = a hypernetwork in place of a memory."""
    task_given: bool = False
    """Whether a test image's answer is looked for among its task's classes."""
    sides: tuple[str, ...] = (
        *("ours", "ours, compiled", "ours, filled at task ends"),
        *("Avalanche", "Mammoth-style"),
    )


@dataclass
class Data:
    """A race's samples as tensors, ready for a network, and a watch that tests during the last task."""

    train: list[tuple[Tensor, Tensor]]
    tests: list[tuple[Tensor, Tensor]]
    classes: list[tuple[int, ...]]
    race: Race
    seed: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)
    """(seconds of training, accuracy) at each look."""
    spent: float = 0.0
    steps: int = 0
    answers: Callable[[Tensor, int], Tensor] = lambda x, task: x
    """(images, task) → logits of all outputs."""

    def start(self, answers: Callable[[Tensor, int], Tensor]) -> None:
        self.answers, self.began = answers, time.process_time()

    def step(self) -> None:
        """To be called after each step; stands still while it tests."""
        self.steps += 1
        each = len(self.train[0][0]) // self.race.batch_size
        done = self.steps - each * (len(self.train) - 1)
        if done > 0 and done % max(1, each // LOOKS) == 0:
            self.spent += time.process_time() - self.began
            self.curve.append((self.spent, self.accuracy()))
            self.began = time.process_time()

    @torch.no_grad()
    def accuracy(self) -> float:
        found = []
        for task, (x, y) in enumerate(self.tests):
            logits = self.answers(x, task)
            if self.race.task_given and logits.shape[1] > len(self.classes[task]):
                own = torch.tensor(self.classes[task])
                found.append((own[logits[:, own].argmax(1)] == y).float().mean())
            elif self.race.memory == 0:
                found.append((logits.argmax(1) + self.classes[task][0] == y).float().mean())
            else:
                found.append((logits.argmax(1) == y).float().mean())
        return float(torch.stack(found).mean())


def data_of(race: Race, stream: Stream, seed: int) -> Data:
    def ready(part: Any, most: int) -> tuple[Tensor, Tensor]:
        raw, y = part.batch(torch.arange(min(len(part), most)))
        return stream.preprocess(raw), y

    whole = min(len(task.train) for task in stream.tasks) // race.batch_size * race.batch_size
    train = [ready(task.train, whole) for task in stream.tasks]
    tests = [ready(task.test, TESTED) for task in stream.tasks]
    return Data(train, tests, [task.classes for task in stream.tasks], race, seed)


def ours(race: Race, stream: Stream, data: Data, compile: bool = False, fill: Fill = "step") -> None:
    steps = len(data.train[0][0]) // race.batch_size

    def net(outputs: int) -> nn.Module:
        return race.net.build(stream.shape, outputs)

    train = TrainOptions(iterations=steps, batch_size=race.batch_size, threads=1, compile=compile)
    if race.memory:
        method: Any = ER(memory=MemoryOptions(size=race.memory, batch_size=race.batch_size, fill=fill))
        model = model_for(stream, net, seed=data.seed)
        optimizer = OptimizerOptions(name="sgd", lr=race.lr)
    else:
        method = combine(Finetune(), Drift(beta=0.01))
        model = model_for(stream, net, "hyper", ChunkedOptions(), seed=data.seed)
        optimizer = OptimizerOptions(name="adam", lr=race.lr)

    looks = EvaluateOptions(every="end", samples=1, scenarios=("task",))
    seeds = Seeds(init=data.seed, order=data.seed, method=data.seed)
    fit = Fit(model, stream, method, train, optimizer, looks, seeds=seeds)
    data.start(lambda x, task: model(x, task))
    for event in fit:
        if isinstance(event, StepDone):
            data.step()


def avalanche(race: Race, stream: Stream, data: Data) -> None:
    peers.declare_torchvision()
    warnings.simplefilter("ignore")  # deprecations of Avalanche's own parts
    from avalanche.benchmarks import tensors_benchmark  # pyright: ignore[reportMissingImports]
    from avalanche.training.plugins import (  # pyright: ignore[reportMissingImports]
        EvaluationPlugin,
        SupervisedPlugin,
    )
    from avalanche.training.supervised import Replay  # pyright: ignore[reportMissingImports]

    class Watch(SupervisedPlugin):
        def after_training_iteration(self, strategy: Any, *_: Any, **__: Any) -> None:
            data.step()

    net = race.net.build(stream.shape, stream.num_classes)
    labels = [0] * len(data.train)
    experiences = tensors_benchmark(
        train_tensors=data.train, test_tensors=data.tests, task_labels=labels
    ).train_stream
    strategy = Replay(
        model=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=race.lr),
        criterion=nn.CrossEntropyLoss(),
        mem_size=race.memory,
        train_mb_size=race.batch_size,
        train_epochs=1,
        plugins=[Watch()],
        evaluator=EvaluationPlugin(),
    )
    data.start(lambda x, task: net(x))
    for experience in experiences:
        strategy.train(experience)


class ReservoirBuffer:
    """As Mammoth's: samples are offered one at a time, in Python."""

    def __init__(self, size: int) -> None:
        self.size, self.seen = size, 0
        self.x, self.y = torch.empty(0), torch.empty(0, dtype=torch.int64)

    def offer(self, x: Tensor, y: Tensor) -> None:
        if not self.seen:
            self.x = torch.zeros(self.size, *x.shape[1:])
            self.y = torch.zeros(self.size, dtype=torch.int64)
        for i in range(len(x)):
            slot = self.seen if self.seen < self.size else random.randint(0, self.seen)
            self.seen += 1
            if slot < self.size:
                self.x[slot], self.y[slot] = x[i], y[i]

    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randperm(min(self.seen, self.size))[:count]
        return self.x[chosen], self.y[chosen]


def mammoth_style(race: Race, stream: Stream, data: Data) -> None:
    net = race.net.build(stream.shape, stream.num_classes)
    optimizer, buffer = torch.optim.SGD(net.parameters(), lr=race.lr), ReservoirBuffer(race.memory)
    data.start(lambda x, task: net(x))
    for x, y in data.train:
        for inputs, labels in DataLoader(TensorDataset(x, y), race.batch_size, shuffle=True):
            optimizer.zero_grad()
            both, targets = inputs, labels
            if buffer.seen:
                replayed, of_replayed = buffer.draw(race.batch_size)
                both, targets = torch.cat([inputs, replayed]), torch.cat([labels, of_replayed])
            loss = F.cross_entropy(net(both), targets)
            loss.backward()
            optimizer.step()
            buffer.offer(inputs, labels)
            loss.item()
            data.step()


def hypnettorch(race: Race, stream: Stream, data: Data) -> None:
    from hypnettorch.utils import hnet_regularizer  # pyright: ignore[reportMissingImports]

    target, hnet = peers.hypnettorch(len(data.train), torch.Size(stream.shape).numel(), race.net.hidden)
    data.start(lambda x, task: target.forward(x.flatten(1), weights=hnet.forward(cond_id=task)))
    for task, (x, y) in enumerate(data.train):
        optimizer = torch.optim.Adam(hnet.parameters(), lr=race.lr)
        targets = hnet_regularizer.get_current_targets(task, hnet) if task else None
        own = TensorDataset(x.flatten(1), y - data.classes[task][0])
        for inputs, labels in DataLoader(own, race.batch_size, shuffle=True):
            optimizer.zero_grad()
            loss = F.cross_entropy(target.forward(inputs, weights=hnet.forward(cond_id=task)), labels)
            if task:
                loss = loss + 0.01 * hnet_regularizer.calc_fix_target_reg(
                    hnet, task, targets=targets, mnet=target
                )
            loss.backward()
            optimizer.step()
            data.step()


def compiled(race: Race, stream: Stream, data: Data) -> None:
    ours(race, stream, data, compile=True)


def filled_at_task_ends(race: Race, stream: Stream, data: Data) -> None:
    ours(race, stream, data, fill="task")


SIDES = {
    "ours": ours,
    "ours, compiled": compiled,
    "ours, filled at task ends": filled_at_task_ends,
    "Avalanche": avalanche,
    "Mammoth-style": mammoth_style,
    "hypnettorch": hypnettorch,
}


def some(source: Source, each: int) -> Source:
    """The source with the first so many training images of each class."""
    x, y = source.train.x, source.train.y
    kept = torch.cat([(y == label).nonzero().flatten()[:each] for label in range(len(source.class_names))])
    return from_tensors(x[kept], y[kept], source.test.x, source.test.y)


def mnist(each: int) -> Callable[[Path], Source]:
    return lambda folder: some(open_source("mnist", data_dir=folder), each)


RACES = {
    "S-MNIST": Race(
        "S-MNIST, `er` with 200 samples, MLP 100-100, batch 10: classes, task unknown",
        lambda folder: split(mnist(2500)(folder), tasks=5),
        MLPOptions(hidden=(100, 100)),
        wanted=0.75,
        batch_size=10,
        lr=0.03,
        memory=200,
    ),
    "P-MNIST-20": Race(
        "P-MNIST-20, `er` with 500 samples, MLP 100-100, batch 10",
        lambda folder: permuted(mnist(300)(folder), tasks=20),
        MLPOptions(hidden=(100, 100)),
        wanted=0.6,
        batch_size=10,
        lr=0.1,
        memory=500,
    ),
    "CIFAR-100": Race(
        "CIFAR-100 20 × 5, `er` with 1,000 samples, LeNet, batch 32: the task given",
        lambda folder: split(open_source("cifar100", data_dir=folder), tasks=20),
        LeNetOptions(),
        wanted=0.4,
        batch_size=32,
        lr=0.05,
        memory=1000,
        task_given=True,
    ),
    "S-MNIST, hnet": Race(
        "S-MNIST, `hnet` with a chunked generator, MLP 100-100, batch 32: the task given",
        lambda folder: split(mnist(2500)(folder), tasks=5),
        MLPOptions(hidden=(100, 100)),
        wanted=0.9,
        batch_size=32,
        lr=1e-3,
        task_given=True,
        sides=("ours", "ours, compiled", "hypnettorch"),
    ),
}


def one(name: str, side: str, folder: Path, seed: int) -> list[tuple[float, float]]:
    """The curve of one side."""
    settle()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    random.seed(seed)
    race = RACES[name]
    stream = race.stream(folder)
    data = data_of(race, stream, seed)
    SIDES[side](race, stream, data)
    return data.curve


def line(race: Race, side: str, curves: Sequence[list[tuple[float, float]]]) -> str:
    """Of one side: medians of the seconds, mean and standard deviation of the last accuracies."""
    reached = [next((s for s, accuracy in curve if accuracy >= race.wanted), None) for curve in curves]
    found = [seconds for seconds in reached if seconds is not None]
    seconds = f"{median(found):.1f} s" if len(found) == len(curves) else "not reached"
    last = [100 * curve[-1][1] for curve in curves]
    spread = f" ± {stdev(last):.1f}" if len(last) > 1 else ""
    whole = median(curve[-1][0] for curve in curves)
    return f"| {side} | {seconds} | {whole:.1f} s | {mean(last):.1f}{spread} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.board", description=__doc__)
    parser.add_argument("races", nargs="*", default=list(RACES), help=f"of {', '.join(RACES)}; none = all")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each side (3)")
    parser.add_argument("--side", help="run this side alone, here, and print its curve")
    parser.add_argument("--seed", type=int, default=0, help="of --side (0)")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(one(options.races[0], options.side, options.data_dir, options.seed)))
        return
    if not peers.installed():
        sys.exit("Avalanche and hypnettorch are not installed: python -m benchmarks --peers")
    root = Path(__file__).parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])}
    environment["OMP_NUM_THREADS"] = "1"
    text = [HEAD, f"{machine.processor()}; one thread; load average {machine.load()}; {machine.commit()}", ""]
    for name in options.races:
        race = RACES[name]
        text += [
            f"**{race.about}**",
            "",
            f"| | to {race.wanted:.0%} | whole run | accuracy, % |",
            "|---|---|---|---|",
        ]
        for side in race.sides:
            command = [str(peers.PYTHON), "-m", "benchmarks.board", name, "--side", side]
            command += ["--data-dir", str(options.data_dir.resolve()), "--seed"]
            curves = []
            for seed in range(options.seeds):
                done = subprocess.run(
                    [*command, str(seed)],
                    stdout=subprocess.PIPE,
                    text=True,
                    env=environment,
                    cwd=root,
                    check=True,
                )
                curves.append(json.loads(done.stdout.splitlines()[-1]))
            text.append(line(race, side, curves))
            print(name, text[-1], flush=True)
        text.append("")
    if options.races == list(RACES):
        OUT.write_text("\n".join(text), encoding="utf-8")


HEAD = """# Seconds to an accuracy

Written by `python -m benchmarks.board --data-dir DIR`. In a race all train the same network by the same method and settings
on the same samples, one pass over each task. *to N %*: training until the mean accuracy over all tasks of the stream, looked at
twenty times during the last task on 200 test images of each, is first that high. Processor time without evaluation; compiling
is part of it, loading data is not. Seconds are medians over the seeds, accuracies mean and standard deviation.
*Mammoth-style* is a twin of that library's loop and buffer. Avalanche's memory takes samples of a task when it has ended, as ours
with `memory.fill=task`; the others' after each step, so that these rehearse samples of the current task as well.
"""

if __name__ == "__main__":
    main()
