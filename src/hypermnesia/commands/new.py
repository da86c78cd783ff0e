"""`hypermnesia new`: a file to begin with, and its test. Both run as they are written."""

import keyword
import re
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from hypermnesia.core.errors import HypermnesiaError, unknown

METHOD = Template('''\
"""$title: cross-entropy, and a pull back to the weights that the last task left."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import hypermnesia as hm


@dataclass(frozen=True)
class State:
    """What is kept between steps: tensors, numbers, dictionaries of tensors, memories, dataclasses of these."""

    centre: dict[str, Tensor] = field(default_factory=dict)
    """The trained parameters as the last task left them; empty in the first task."""


@dataclass(frozen=True, kw_only=True)
class $title(hm.Method):
    """Cross-entropy + strength/2 · ‖θ − θ*‖²."""

    strength: float = 1.0
    """Factor of the squared distance, ≥ 0."""

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise hm.HypermnesiaError(f"$name.strength={self.strength} must not be negative")

    def init(self, learner: hm.Learner) -> State:
        """The first state, before any task."""
        return State()

    def loss(self, net: hm.Net, state: State, batch: hm.Batch, draw: None) -> tuple[Tensor, hm.Aux]:
        """Pure: no .item(), no in-place writes, no branch on a tensor's value, no randomness (that belongs to `draw`)."""
        fit = F.cross_entropy(net(batch.x, batch.task), batch.target)
        held = [(net.params[name] - then).square().sum() for name, then in state.centre.items() if name in net.params]
        pull = self.strength / 2 * torch.stack(held).sum() if held else torch.zeros_like(fit)
        return fit + pull, hm.Aux({"cross_entropy": fit.detach(), "pull": pull.detach()})

    def end_task(self, state: State, learner: hm.Learner, task: hm.Task, rng: torch.Generator) -> State:
        """The state after a task's last step. A method without an end_task needs no task boundaries."""
        trained = learner.model.named_parameters()
        return State({name: value.detach().clone() for name, value in trained if value.requires_grad})
''')
TEST = Template('''\
"""$title against what it should come to."""

import pytest
from $name import $title
from torch import nn

import hypermnesia as hm


def trained(method: hm.Method) -> hm.Fit:
    """Two tasks of digits, 30 steps each."""
    stream = hm.load("split-digits", options=hm.StreamOptions(first_tasks=2))
    model = hm.model_for(stream, lambda outputs: nn.Sequential(nn.Flatten(), nn.Linear(64, outputs)))
    run = hm.Fit(model, stream, method, hm.TrainOptions(iterations=30, threads=1))
    for _ in run:
        pass
    return run


def accuracies(run: hm.Fit) -> list[float | None]:
    return run.records.rows["task"][-1]


def test_without_strength_it_is_finetune():
    assert accuracies(trained($title(strength=0.0))) == accuracies(trained(hm.Finetune()))


def test_a_strong_pull_leaves_the_weights_where_they_were():
    run = trained($title(strength=1e3))
    held = run.learner.state.centre
    assert set(held) == {"target.1.weight", "target.1.bias"}
    assert accuracies(run)[0] > 0.8


def test_errors_say_what_is_wrong():
    with pytest.raises(hm.HypermnesiaError, match="$name.strength=-1 must not be negative"):
        $title(strength=-1)
''')
TEMPLATES = {"method": (METHOD, TEST)}


def new(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to begin: method.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name, such as my_method.")],
    out: Annotated[Path, typer.Option(help="Where the files go.", metavar="DIR")] = Path("."),
) -> None:
    """Write the file of a method of your own, and its test: new method NAME

    Both run as they are written. NAME.py is used at once as python:NAME:Name where an approach's name stands.
    """
    for path in written(kind, name, out):
        print(f"written: {path}")
    title = _title(name)
    print(f"\ntry it: hypermnesia run split-digits python:{name}:{title} strength=0.1")
    print(f"test it: python -m pytest test_{name}.py")


def written(kind: str, name: str, out: Path = Path(".")) -> list[Path]:
    """Write `NAME.py` and `test_NAME.py` into `out`, which is made if need be; their paths. Nothing is overwritten."""
    if kind not in TEMPLATES:
        raise unknown("template", kind, TEMPLATES)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise HypermnesiaError(
            f"new {kind} {name}: the name becomes a file's and a module's; expected lower-case letters, digits and _, "
            "such as my_method"
        )
    paths = [out / f"{name}.py", out / f"test_{name}.py"]
    if there := [path for path in paths if path.exists()]:
        raise HypermnesiaError(
            f"new {kind} {name}: {there[0]} exists already; take another name, or remove it"
        )
    out.mkdir(parents=True, exist_ok=True)
    for path, template in zip(paths, TEMPLATES[kind], strict=True):
        path.write_text(template.substitute(name=name, title=_title(name)), encoding="utf-8")
    return paths


def _title(name: str) -> str:
    """my_method → MyMethod."""
    return "".join(part.capitalize() for part in name.split("_"))
