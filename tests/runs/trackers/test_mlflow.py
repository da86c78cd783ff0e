"""MLflow on a file of its own."""

import warnings
from importlib import import_module
from importlib.util import find_spec

import pytest
from runs.trackers.tracked import CONFIG, expected, interrupted, run

pytestmark = [
    pytest.mark.skipif(
        find_spec("mlflow") is None, reason="mlflow is not installed: pip install 'hypermnesia[mlflow]'"
    ),
    pytest.mark.filterwarnings("ignore"),  # of mlflow and what it stands on
]


@pytest.fixture(autouse=True)
def _nowhere_else(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def stored(seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        client = import_module("mlflow").MlflowClient(f"sqlite:///{seed / 'mlflow.db'}")
    return client, client.get_run((seed / "mlflow-run").read_text().strip())


def losses(seed) -> list[tuple[int, float]]:
    client, found = stored(seed)
    return sorted((m.step, m.value) for m in client.get_metric_history(found.info.run_id, "loss"))


def test_a_run_with_its_metrics_and_settings(tmp_path):
    seed = run(tmp_path, "mlflow")
    _, found = stored(seed)
    assert found.info.status == "FINISHED" and found.info.run_name.startswith("split-digits er-")
    assert found.data.params["train.iterations"] == "30"
    assert found.data.params["config_sha256"] == CONFIG.sha256
    assert losses(seed) == [(step, value) for name, step, value in expected(seed) if name == "loss"]
    assert set(found.data.metrics) == {name for name, *_ in expected(seed)}


def test_a_resumed_run_goes_on_in_the_same_one(tmp_path):
    interrupted(tmp_path, "mlflow")
    seed = tmp_path / "seed-0"
    _, before = stored(seed)
    assert before.info.status == "KILLED"
    run(tmp_path, "mlflow")
    _, after = stored(seed)
    assert after.info.run_id == before.info.run_id and after.info.status == "FINISHED"
    assert losses(seed) == [(step, value) for name, step, value in expected(seed) if name == "loss"]
