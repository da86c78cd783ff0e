"""Ray for real: one small cluster for the quick tests, two nodes of which one dies for the slow one."""

import os
import sys
import time

import pytest
from sweep.sweep_helpers import TINY, Inline, values

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep import Ray, SweepOptions, sweep

WORDS = [*TINY, "optimizer.lr=0.001,0.1"]
# Ray's own threads and sockets end when they end.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def path(monkeypatch):
    """Nodes that are started here find what the tests find."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))


@pytest.mark.slow  # starting Ray takes its time
def test_tasks_find_what_this_process_finds(tmp_path, path):
    options = SweepOptions(final_seeds=0)
    found = sweep("split-digits", "finetune", WORDS, tmp_path / "a", engine=Ray(workers=1), options=options)
    here = sweep("split-digits", "finetune", WORDS, tmp_path / "b", engine=Inline(), options=options)
    assert values(found) == values(here) and {t.state for t in found.trials} == {"complete"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:1", "the Ray cluster at 127.0.0.1:1 cannot be reached: .*refused"),
        ("ray://127.0.0.1:1", "the Ray cluster at 127.0.0.1:1 cannot be reached: .*refused"),
        ("nonsense", "ray: address 'nonsense'; expected HOST:PORT, ray://HOST:PORT or auto"),
        ("host:99999", "ray: address 'host:99999'; expected HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_told_within_seconds(tmp_path, address, said):
    started = time.monotonic()
    with pytest.raises(HypermnesiaError, match=said):
        sweep("split-digits", "finetune", WORDS, tmp_path / "out", engine=Ray(address=address))
    assert time.monotonic() - started < 60 and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cpus": -1}, "ray: cpus=-1 must be at least 0"),
        ({"retries": -1}, "ray: retries=-1 must be at least 0"),
        ({"cpus": 0}, "ray: a job needs some of a CPU or GPU; give cpus or gpus above 0"),
        ({"workers": 0}, "workers=0 must be at least 1"),
    ],
)
def test_bad_numbers_are_told(options, said):
    with pytest.raises(HypermnesiaError, match=said):
        Ray(**options)


@pytest.mark.slow
def test_a_node_dies_in_the_middle_and_every_trial_ends_once(tmp_path, path):
    import ray
    from ray.cluster_utils import Cluster

    words = [*TINY, "optimizer.lr=0.001,0.003,0.01,0.03,0.1,0.3"]
    words[0] = "train.iterations=100"
    options = SweepOptions(final_seeds=1)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}, connect=False
    )
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    killed = []
    finished = []

    def kill(result):
        done = [t.number for t in result.trials if t.state != "running"]
        finished.extend(number for number in done if number not in finished)
        if len(done) == 2 and not killed:
            killed.append(done)
            cluster.remove_node(second, allow_graceful=False)

    try:
        found = sweep(
            "split-digits",
            "finetune",
            words,
            tmp_path / "ray",
            engine=Ray(address=cluster.address),
            options=options,
            listener=kill,
        )
    finally:
        if ray.is_initialized():
            ray.shutdown()
        cluster.shutdown()
    assert killed and sorted(finished) == list(range(6)), "every trial ended, and once"
    here = sweep("split-digits", "finetune", words, tmp_path / "here", engine=Inline(), options=options)
    assert values(found) == values(here) and {t.state for t in found.trials} == {"complete"}
    assert found.final["scenarios"] == here.final["scenarios"]
