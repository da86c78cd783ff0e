"""The Python road: one call trains and gives a `Result`, which tells, draws, answers, learns on, and is saved and opened."""

import io
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from hypermnesia.commands.progress import RunProgress, console, showing, view, watched
from hypermnesia.core import units
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Stream
from hypermnesia.data.sources.given import samples_of
from hypermnesia.evaluation.evaluate import EvaluateOptions, tests_are_tasks
from hypermnesia.evaluation.figures import ERROR, METRICS, beside, worded
from hypermnesia.evaluation.infer import Inference
from hypermnesia.evaluation.records import Records, Row
from hypermnesia.evaluation.schema import FORMAT
from hypermnesia.experiments.resolve import resolve
from hypermnesia.methods.base import Method
from hypermnesia.methods.learner import Answer, Learner
from hypermnesia.report.draw.alone import Picture
from hypermnesia.report.draw.heat import heat_map
from hypermnesia.runs import fitted
from hypermnesia.runs.continuation import onwards
from hypermnesia.runs.directory import default_directory, read_result, saved_config, seed_directories
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.export import is_joint
from hypermnesia.runs.learn import learn
from hypermnesia.runs.predict import answered, numbers, read
from hypermnesia.runs.results import figures_of, summary_of
from hypermnesia.runs.stacks import Listen, silent
from hypermnesia.training import guards
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.weights.build import model_for
from hypermnesia.weights.model import Model


class Result:
    """What a run has come to, with what it has learned. Made by `fit`, `run` and `open_run`."""

    def __init__(
        self,
        trained: Fit,
        title: str,
        directory: Path | None = None,
        figures: dict[str, Any] | None = None,
    ) -> None:
        """`figures`: those of the run when it was saved; None: those on disk, or the run's as it is."""
        self._run, self.title, self._figures = trained, title, figures
        self.directory = directory
        """DIR/seed-K of a run on disk; None for one that only Python knows of."""

    @property
    def learner(self) -> Learner:
        """The models, the method's state and the inference of the task, as they are now."""
        return self._run.learner

    @property
    def stream(self) -> Stream:
        """The stream that was tested; of a run that was opened an outline, without samples."""
        return self._run.tested_on

    @property
    def records(self) -> Records:
        """All that was measured, as it was."""
        return self._run.records

    @property
    def rows(self) -> dict[str, list[Row]]:
        """`rows[scenario][t][i]`: accuracy in 0..1 (of numbers R²) on test part i after task t; None where not measured."""
        return self.records.rows

    @property
    def baseline(self) -> dict[str, Row]:
        """`baseline[scenario][i]`: accuracy of the untrained network."""
        return self.records.baseline

    @property
    def seconds(self) -> float:
        """Training time, evaluation excluded."""
        return self.records.seconds

    @property
    def steps(self) -> int:
        return self.records.steps

    @cached_property
    def figures(self) -> dict[str, Any]:
        """The keys of result.json; see docs/files.md."""
        found = read_result(self.directory) if self.directory is not None else self._figures
        return found or {"format": FORMAT, **figures_of(self._run)}

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """`metrics[scenario][name]`, such as `metrics["class"]["average_accuracy"]`: fractions, None where undefined."""
        scenarios = self.figures["scenarios"] or self.figures.get("validation", {}).get("scenarios", {})
        return {name: {k: v for k, v in found.items() if k != "matrix"} for name, found in scenarios.items()}

    def summary(self) -> str:
        """All metrics in percent and the costs, as the command line prints them."""
        from hypermnesia.commands import tables

        identity = {"benchmark": self.stream.name, "approach": self.title, "config_sha256": "", "seed": 0}
        found = summary_of([identity | self.figures | {"scenarios": self.metrics}])
        page = Console(file=io.StringIO(), width=120, markup=False, highlight=False, emoji=False)
        for part in (self.title, tables.summary(found), tables.costs(found)):
            page.print(part)
        assert isinstance(page.file, io.StringIO)
        return page.file.getvalue()

    def plot(self, scenario: str | None = None) -> Picture:
        """The accuracy on each test after each task. `scenario`: task, class or domain; None: the first that there is."""
        rows = self.rows or self.records.validation
        name = scenario or next(iter(rows), "")
        if name not in rows:
            there = ", ".join(rows) or "none: the run has not been evaluated"
            raise HypermnesiaError(f"there is no scenario {scenario!r} to plot; there are: {there}")
        matrix = rows[name]
        learned = [task.name for task in self._run.stream.tasks][: len(matrix)]
        by_task = tests_are_tasks(self.stream) or not self.rows
        tests = [task.name for task in self.stream.tasks] if by_task else list(self.stream.class_names)
        if len(tests) != len(matrix[0]):
            tests = [str(i + 1) for i in range(len(matrix[0]))]
        label = worded(f"{self.title}, {name}: accuracy in %", self.stream.target is not None)
        return Picture.of(heat_map(matrix, label, learned, tests, "after", "tested on"))

    def answer(self, x: Any, task: int | None = None) -> Answer:
        """Classes, scores and tasks for samples: see `predict`."""
        self._check_task(task)
        return answered(self._run, self._raw(x), task)

    def predict(self, x: Any, task: int | None = None) -> list[str] | list[float]:
        """The class names of samples: arrays or tensors as the stream has them (uint8 images (N, C, H, W) or (N, H, W),
        float vectors (N, F), int64 tokens (N, L)), or files (a `Path`, or a list of them).

        `task` (from 0): whose classes to look for; None looks for all classes seen, inferring the task where weights depend
        on it. "" where an output has the most that stands for no class. A run that has learned numbers tells these, in
        the target's own units; where weights depend on the task it has to be given.
        """
        if self.stream.target is not None:
            self._check_task(task)
            return numbers(self._run, self._raw(x), task).tolist()
        names = self.stream.class_names
        return [names[c] if c >= 0 else "" for c in self.answer(x, task).classes.tolist()]

    def _check_task(self, task: int | None) -> None:
        """Raise for a task that was not learned, counted as it was given: from 0."""
        learned = len(self.stream.tasks) if is_joint(self.learner, self.stream) else self.learner.task + 1
        if task is not None and not 0 <= task < learned:
            raise HypermnesiaError(
                f"there is no task {task}: this run has learned the tasks 0 to {learned - 1}"
            )

    def _raw(self, x: Any) -> torch.Tensor:
        files = [x] if isinstance(x, Path) else x
        if isinstance(files, list) and files and all(isinstance(file, Path) for file in files):
            return read(self.directory, files, self.stream)
        raw, learner = samples_of(x, "predict"), self.learner
        if isinstance(raw, list):
            raise HypermnesiaError(
                "predict: strings are no samples; pass files as Path(…), or int64 tokens (N, L)"
            )
        if (raw.dtype, tuple(raw.shape[1:])) != (learner.dtype, learner.shape):
            wanted = f"{str(learner.dtype).removeprefix('torch.')} (N, {', '.join(map(str, learner.shape))})"
            raise HypermnesiaError(
                f"predict: samples are {str(raw.dtype).removeprefix('torch.')} {tuple(raw.shape)}; this run has learned {wanted}"
            )
        return raw

    def learn(
        self,
        data: Stream | str | Path,
        words: Sequence[str] = (),
        *,
        train: TrainOptions | None = None,
        out: Path | None = None,
        apart: bool = False,
        progress: bool | None = None,
    ) -> "Result":
        """What comes of learning further classes, without the data of the earlier ones; this result stays as it is.

        Of a run on disk: `data` is a folder with a sub-folder for each class, or what else `hypermnesia learn` takes, with
        its `words` ("train.iterations=100"); the new run lies in `out`, by default beside the old one. Of a run of `fit`:
        `data` is a `Stream`, such as `split(source, tasks=1)`, and `train` says how long it trains. `apart`: classes are
        new even where the run has some of the same names.
        """
        if self.directory is not None:
            if isinstance(data, Stream) or train is not None:
                raise HypermnesiaError(
                    "learn: a run on disk learns from a folder or another source by name, and is told how to train by words: "
                    'result.learn("my/images", ["train.iterations=100"])'
                )
            listen = _listen(progress)
            found = learn(self.directory, str(data), words, out=out, apart=apart, listen=listen)
            return open_run(found.directory)  # of this one seed, whatever the directory was called
        if not isinstance(data, Stream) or words or out is not None:
            raise HypermnesiaError(
                "learn: a run of fit learns from a stream, and is told how to train by options: "
                "result.learn(split(open_source('folder:my/images'), tasks=1), train=TrainOptions(iterations=100))"
            )
        return _trained(onwards(self._run, data, train, apart), progress)

    def save(self, directory: str | Path) -> Path:
        """Keep the run in `directory`, which must not exist; `open_run` gives it back. Nothing is pickled."""
        place = Path(directory)
        if self.directory is None:
            fitted.save(self._run, place, self.figures)
        elif place.exists():
            raise HypermnesiaError(f"{place} exists already: save to another directory, or remove it")
        else:
            shutil.copytree(self.directory, place / self.directory.name)
        return place

    def __repr__(self) -> str:
        of = beside(self.stream.target is not None)
        found = ", ".join(
            f"{of}{k} {units.percent(v['average_accuracy'], 1)} %" for k, v in self.metrics.items()
        )
        tasks = len(self._run.stream.tasks)
        return f"Result of {self.title}: {tasks} task{'s' * (tasks != 1)}, {found or 'not evaluated'}"

    def _repr_html_(self) -> str:
        def row(cells: Sequence[str], tag: str = "td") -> str:
            return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

        found, told = self.metrics, self.stream.target is not None
        lines = [
            row(
                [
                    worded(figure.title, told),
                    *(units.percent(m[figure.name], 2, figure.signed) for m in found.values()),
                ]
            )
            for figure in METRICS
            if any(m[figure.name] is not None for m in found.values())
        ]
        if told:
            errors = (ERROR.write(m[ERROR.name], None) for m in found.values())
            lines.append(row([f"{ERROR.title}, in its own units", *errors]))
        table = f"<table>{row(['in %', *found], 'th')}{''.join(lines)}</table>"
        picture = self.plot()._repr_html_() if self.rows or self.records.validation else ""
        return f"<div><strong>{escape(self.title)}</strong>{table}{picture}</div>"


# ------------------------------------------------------------------------------------------------------- the calls


def fit(
    model: Model | Mapping[str, Model] | nn.Module | Callable[[int], nn.Module],
    stream: Stream,
    method: Method,
    train: TrainOptions,
    *,
    optimizer: OptimizerOptions | type[torch.optim.Optimizer] | None = None,
    evaluation: EvaluateOptions | None = None,
    inference: Inference | None = None,
    seeds: Seeds | None = None,
    tested_on: Stream | None = None,
    sealed: bool = False,
    device: str | torch.device = "cpu",
    progress: bool | None = None,
) -> Result:
    """Train to the end and return the result.

    `model`: what `model_for` makes, or a plain module or a function outputs → module, of which all tasks then share the
    weights. `optimizer`: options, or a class of `torch.optim` for its defaults. `progress`: whether a bar is shown; None:
    on a terminal and in a notebook. The rest is as for `Fit`. Warns when nothing holds what a generator wrote for
    earlier tasks: such weights forget.
    """
    if not isinstance(stream, Stream):
        raise HypermnesiaError(
            f"fit: expected a Stream, got {type(stream).__name__}; hm.load(NAME) or hm.split(data, tasks=5) makes one"
        )
    if not isinstance(model, Model | Mapping):
        model = model_for(stream, model)
    run = Fit(
        model,
        stream,
        method,
        train,
        optimizer=optimizer,
        evaluation=evaluation,
        inference=inference,
        seeds=seeds,
        tested_on=tested_on,
        sealed=sealed,
        device=device,
    )
    written = run.learner.model.generator is not None
    if written and len(stream.tasks) > 1 and "main" not in method.held_models:
        warnings.warn(
            f"these weights are written by a generator, and {type(method).__name__} alone lets it forget earlier "
            "tasks: add a drift penalty, combine(method, Drift(beta=0.01))",
            stacklevel=2,
        )
    return _trained(run, progress)


def _title(run: Fit) -> str:
    named = getattr(run.method, "method", run.method)  # of a method with penalties
    return f"{run.tested_on.name} · {type(named).__name__.lower()}"


def _trained(run: Fit, progress: bool | None) -> Result:
    page, title = console(), _title(run)
    bar = RunProgress(title, title, lambda: run.stream)
    wanted = watched(page) if progress is None else progress
    with guards.told("fit: a step", RunFailed), view(page, bar) if wanted else nullcontext() as show:
        for event in run:
            if show is not None:
                bar.hear(event)
                show(event)
    return Result(run, title)


def run(
    benchmark: str,
    approach: str,
    words: Sequence[str] = (),
    *,
    seed: int = 0,
    out: str | Path | None = None,
    data_dir: str | Path | None = None,
    device: str = "cpu",
    progress: bool | None = None,
) -> Result:
    """What the command `hypermnesia run` does, for one seed: a run on disk, recognised where it is finished.

    `words`: settings such as "drift.beta=0.1". `out`: DIR of DIR/seed-K; by default below runs/.
    """
    cfg = resolve(benchmark, approach, list(words))
    directory = default_directory(cfg) if out is None else Path(out)
    data = None if data_dir is None else Path(data_dir)
    execute_seeds(cfg, [seed], directory, data_dir=data, device=device, listen=_listen(progress))
    return open_run(directory / f"seed-{seed}", device=device)


def open_run(
    directory: str | Path,
    net: fitted.Network | None = None,
    method: Method | None = None,
    *,
    device: str = "cpu",
) -> Result:
    """The result in a directory: of `run` or the command line (DIR with one seed, or DIR/seed-K), or of `Result.save`.

    For what `fit` had trained: `net`, the network's code, as it was given to `model_for` or `fit`; and `method`, where it
    is one of your own. Runs code that DIR names (python:MODULE:NAME): open what you trust. Raises `HypermnesiaError` for
    anything else, and for a run that has no checkpoint yet.
    """
    place = Path(directory)
    if (place / fitted.FILE).is_file():
        run, figures = fitted.restored(place, net, method, device)
        return Result(run, _title(run), figures=figures)
    seeds = seed_directories(place)
    if len(seeds) > 1:
        names = ", ".join(seed.name for seed in seeds)
        raise HypermnesiaError(f"{place} holds {len(seeds)} seeds ({names}); open one of them: {seeds[0]}")
    if net is not None or method is not None:
        raise HypermnesiaError(f"{place} says itself which network and method it has: leave them out")
    cfg = saved_config(seeds[0])
    return Result(restored(seeds[0], device), f"{cfg.benchmark} · {cfg.approach.name}", seeds[0])


def _listen(progress: bool | None) -> Listen:
    page = console()
    return showing(page) if (watched(page) if progress is None else progress) else silent
