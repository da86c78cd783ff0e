"""A continual learner as a scikit-learn classifier over vectors."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Images, Part, Preprocess, Stream, StreamOptions, Task
from hypermnesia.data.preprocess import standardisation
from hypermnesia.data.transforms import Identity
from hypermnesia.experiments.build import assemble
from hypermnesia.experiments.resolve import Config, resolve
from hypermnesia.methods.learner import Answer, Phase
from hypermnesia.runs.continuation import take_over

ARRAYS = "npz:arrays"
"""A benchmark of one's own data, for which nothing was published."""
_IDENTITY = Identity()


class ContinualClassifier(ClassifierMixin, BaseEstimator):
    """Each `partial_fit` learns one more task, of classes that are new or known, without the data of the earlier ones.

    `approach` is a name of the command line ("er", "ewc", "slda", "python:MODULE:CLASS"), `settings` its words, such as
    `["memory.size=500", "train.epochs=5", "net.hidden=[100]"]`. Vectors (N, F) are kept as float32 and standardised by the
    samples of the first call, unless `standardise=False`. An approach whose weights differ by task ("hnet") infers the task,
    and takes tasks of as many classes as the first one had. `random_state`: an integer makes all of it repeatable.

    After a call: `classes_` (C,) sorted labels of all tasks so far, `n_tasks_`, `n_features_in_`.
    """

    def __init__(
        self,
        approach: str = "er",
        settings: Sequence[str] = (),
        *,
        standardise: bool = True,
        random_state: Any = 0,
        device: str = "cpu",
    ) -> None:
        self.approach = approach
        self.settings = settings
        self.standardise = standardise
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any) -> Self:
        """Forget everything, then learn X (N, F) and y (N,) as the first task."""
        vars(self).pop("_run", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Self:
        """Learn X (N, F) and y (N,) as one more task.

        `classes` need not be given: the network grows. Where it is, all labels must be among them.
        """
        first = not hasattr(self, "_run")
        x, y = validate_data(self, X, y, reset=first, dtype=np.float32)
        check_classification_targets(y)
        if classes is not None and (unknown := np.setdiff1d(y, classes)).size:
            raise ValueError(f"y has the class {unknown[0]!r}, which is not among `classes`")
        if first:
            rng = check_random_state(self.random_state)
            given = isinstance(self.random_state, int | np.integer)
            self._seed = int(self.random_state) if given else int(rng.randint(2**31))
            self._ids: dict[Any, int] = {}
        ids = {**self._ids, **{label: len(self._ids) + i for i, label in enumerate(new(y, self._ids))}}
        cfg, stream = self._config(), self._stream(torch.from_numpy(x), y, ids)
        run = assemble(cfg, stream, self._seed, self.device)
        if not first:
            take_over(run, self._run)
        for _ in run:
            pass
        run.learner.phase = Phase()
        run.stream = run.tested_on = _outline(run.stream)
        self._run, self._ids = run, ids
        self.classes_ = np.unique(np.array(list(ids), dtype=np.asarray(y).dtype if first else None))
        self.n_tasks_ = len(stream.tasks)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """The labels (N,) of X (N, F), among all classes so far."""
        answer = self._answer(X)
        labels = np.empty(len(self._ids), dtype=self.classes_.dtype)
        labels[list(self._ids.values())] = list(self._ids)
        return labels[answer.classes.cpu().numpy()]

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """(N, C) in the order of `classes_`. Where the task is inferred, 0 for the classes of other tasks."""
        shares = self._answer(X).scores.double().softmax(1).cpu().numpy()
        return shares[:, [self._ids[label] for label in self.classes_.tolist()]]

    def _answer(self, X: Any) -> Answer:
        check_is_fitted(self)
        x = validate_data(self, X, reset=False, dtype=np.float32)
        return self._run.learner.answer(torch.from_numpy(x))

    def _config(self) -> Config:
        cfg = resolve(ARRAYS, self.approach, self.settings)
        if cfg.approach.joined:
            raise HypermnesiaError(
                f"ContinualClassifier: {self.approach} learns all tasks at once and none later; take er, say"
            )
        if cfg.sections["stream"] != StreamOptions():
            raise HypermnesiaError(
                "ContinualClassifier: stream.* has no meaning for arrays that are given; leave it out"
            )
        return cfg

    def _stream(self, x: torch.Tensor, y: NDArray[Any], ids: dict[Any, int]) -> Stream:
        """The tasks so far, of which the last one alone has samples; none has tests."""
        known = torch.tensor([ids[label] for label in y.tolist()])
        earlier = () if not hasattr(self, "_run") else self._run.stream.tasks
        everything, nothing = torch.arange(len(ids)), torch.zeros(0, dtype=torch.int64)
        samples = Images(x, known)
        train = Part(samples, torch.arange(len(x)), everything, _IDENTITY)
        classes = tuple(dict.fromkeys(known.tolist()))
        task = Task(
            len(earlier),
            f"task {len(earlier) + 1}",
            tuple(sorted(classes)),
            train,
            replace(train, index=nothing),
        )
        tasks = (*earlier, task)
        if earlier:
            preprocess = self._run.stream.preprocess
        else:
            preprocess = standardisation(x) if self.standardise else Preprocess()
        return Stream(
            "arrays",
            tasks,
            tuple(map(str, ids)),
            preprocess,
            tuple(task.test for task in tasks),
            source_sha256="",
            shared_labels=len(tasks) > 1 and len({frozenset(task.classes) for task in tasks}) == 1,
        )


def new(y: NDArray[Any], known: dict[Any, int]) -> list[Any]:
    """The labels of y that are not known yet, sorted."""
    return [label for label in np.unique(y).tolist() if label not in known]


def _outline(stream: Stream) -> Stream:
    """The stream without its samples."""
    nothing = torch.zeros(0, dtype=torch.int64)
    images = Images(stream.tasks[0].train.images.x[:0].clone(), nothing)
    empty = replace(stream.tasks[0].test, images=images, index=nothing)
    tasks = tuple(replace(task, train=empty, test=replace(empty)) for task in stream.tasks)
    return replace(stream, tasks=tasks, tests=tuple(task.test for task in tasks))
