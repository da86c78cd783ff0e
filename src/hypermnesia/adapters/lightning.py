"""Lightning keeps the matrix of accuracies while a module learns one task after the other."""
# pyright: reportMissingImports=false

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.records import Row

Answer = Callable[[LightningModule, Tensor, int], Tensor]
"""(module, inputs (B, …), test) → logits (B, outputs), in which the greatest is the answer."""
LOGGED = ("average_accuracy", "forgetting", "backward_transfer")


class AccuracyMatrix(Callback):
    """Tests all tasks whenever `Trainer.fit` has learned one, and keeps the accuracies as a row.

    Give the same callback to the trainer of every task; `tests` are `DataLoader`s of (x, y), one for each task, such as
    `hm.loader(stream, task.test)`. `answer` says how the module answers, by default `module(x)`. The row goes on to the
    trainer's loggers with `average_accuracy`, `forgetting` and `backward_transfer`, and into its checkpoints.
    """

    def __init__(self, tests: Sequence[DataLoader[Any]], answer: Answer | None = None) -> None:
        if not tests:
            raise HypermnesiaError(
                "AccuracyMatrix: the list of tests is empty; expected a DataLoader for each task"
            )
        self.tests = list(tests)
        self.answer = answer or (lambda module, x, test: module(x))
        self.rows: list[Row] = []
        """Accuracies in 0..1: a row for each task learned, a column for each test."""

    def summary(self) -> dict[str, Any]:
        """The metrics of the matrix so far, over the tests of the tasks learned by then: `evaluation.metrics.summarise`."""
        return metrics.summarise(self.rows, seen=[range(t + 1) for t in range(len(self.rows))])

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if len(self.rows) == len(self.tests):
            raise HypermnesiaError(
                f"AccuracyMatrix: a fit after the last of {len(self.tests)} tasks; make a new callback for another stream"
            )
        was_training = pl_module.training
        pl_module.eval()
        self.rows.append([self._accuracy(pl_module, i) for i in range(len(self.tests))])
        pl_module.train(was_training)
        found = self.summary()
        seen = [f"accuracy/{i}" for i in range(len(self.tests))]
        values = dict(zip(seen, self.rows[-1], strict=True)) | {name: found[name] for name in LOGGED}
        known = {name: value for name, value in values.items() if value is not None}
        for logger in trainer.loggers:
            logger.log_metrics(known, step=trainer.global_step)

    def _accuracy(self, module: LightningModule, test: int) -> float:
        right = total = 0
        for x, y in self.tests[test]:
            x, y = x.to(module.device), y.to(module.device)
            right += int((self.answer(module, x, test).argmax(1) == y).sum())
            total += len(y)
        return right / total

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self.rows = [list(row) for row in state_dict["rows"]]
