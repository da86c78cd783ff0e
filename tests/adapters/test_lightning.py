"""The Lightning door: a matrix of accuracies over several fits."""

import pytest
import torch
import torch.nn.functional as F
from small import mlp, split_stream

import hypermnesia as hm
from hypermnesia.core.rng import generator

pytest.importorskip("lightning", reason="the package lightning is not installed")
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # Lightning's own advice about workers, loggers and the like

import lightning.pytorch as pl  # noqa: E402

from hypermnesia.adapters.lightning import AccuracyMatrix  # noqa: E402


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.net, self.memory = mlp(6), hm.ReplayMemory(20)

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = seen = batch
        if len(self.memory):
            drawn = self.memory.draw(8)
            x, y = torch.cat([x, drawn.x]), torch.cat([y, drawn.y])
        self.memory.add(*seen)
        return F.cross_entropy(self(x), y)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.3)


class Kept(pl.loggers.logger.DummyLogger):
    def __init__(self):
        super().__init__()
        self.lines = []

    def log_metrics(self, metrics, step=None):
        self.lines.append(metrics)


def learned(tmp_path, answer=None):
    stream, order, module, log = split_stream(), generator(0), Classifier(), Kept()
    matrix = AccuracyMatrix([hm.loader(stream, task.test) for task in stream.tasks], answer)
    for task in stream.tasks:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "barebones": False}
        trainer = pl.Trainer(
            max_epochs=3,
            accelerator="cpu",
            logger=log,
            callbacks=[matrix],
            default_root_dir=tmp_path,
            **quiet,
        )
        trainer.fit(module, hm.loader(stream, task.train, 8, order))
    return stream, module, matrix, log, trainer


def test_a_row_of_accuracies_for_each_fit(tmp_path):
    stream, module, matrix, log, trainer = learned(tmp_path)
    assert [len(row) for row in matrix.rows] == [3, 3, 3]
    for test, task in enumerate(stream.tasks):
        [(x, y)] = hm.loader(stream, task.test, len(task.test))
        assert matrix.rows[2][test] == (module(x).argmax(1) == y).double().mean().item()
    found = matrix.summary()
    assert found["average_accuracy"] == pytest.approx(sum(matrix.rows[2]) / 3)
    said = [line for line in log.lines if "average_accuracy" in line]
    learned_by_then = [sum(row[: t + 1]) / (t + 1) for t, row in enumerate(matrix.rows)]
    assert [line["average_accuracy"] for line in said] == pytest.approx(learned_by_then)
    assert [line["accuracy/0"] for line in said] == [row[0] for row in matrix.rows]
    assert said[-1]["forgetting"] == found["forgetting"] and "forgetting" not in said[0]
    restored = AccuracyMatrix(matrix.tests)
    restored.load_state_dict(matrix.state_dict())
    assert restored.summary() == found
    with pytest.raises(hm.HypermnesiaError, match="a fit after the last of 3 tasks; make a new callback"):
        matrix.on_train_end(trainer, module)


def test_an_answer_of_ones_own(tmp_path):
    _, _, matrix, *_ = learned(
        tmp_path, lambda module, x, test: F.one_hot(torch.full((len(x),), 2 * test), 6)
    )
    assert matrix.rows == [[0.5, 0.5, 0.5]] * 3


def test_it_needs_tests():
    with pytest.raises(hm.HypermnesiaError, match="AccuracyMatrix: the list of tests is empty"):
        AccuracyMatrix([])
