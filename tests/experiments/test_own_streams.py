"""Streams of a user's own, by `python:module:name`, wherever a benchmark's name stands."""

import pytest

import hypermnesia as hm
from hypermnesia.commands.compare import compare
from hypermnesia.core.registry import Untrusted, refusing
from hypermnesia.report import write
from hypermnesia.runs.directory import Place, default_directory
from hypermnesia.runs.execute import execute, resume

STREAMS = """
import numpy as np
import hypermnesia as hm

def flats(seed, **others):
    rng = np.random.default_rng(seed)
    return hm.stream_of([(rng.normal(size=(40, 6)) + 3 * t, np.arange(40) % 2) for t in range(3)], apart=True)

fixed = flats(0)

def ground():
    return 7

def broken(seed):
    return seed / 0
"""
QUICK = ["train.iterations=4", "train.threads=1", "net.hidden=[5]"]
NAME = "python:own_streams:flats"


@pytest.fixture
def streams(tmp_path, monkeypatch):
    (tmp_path / "own_streams.py").write_text(STREAMS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_function_is_given_the_seed_and_a_stream_is_taken_as_it_is(streams):
    assert hm.load(NAME, seed=1).sha256 == hm.load(NAME, seed=1).sha256 != hm.load(NAME, seed=2).sha256
    assert hm.load("python:own_streams:fixed").sha256 == hm.load(NAME, seed=0).sha256
    options = hm.StreamOptions(first_tasks=2, samples_per_task=10, validation=0.2)
    cut = hm.load(NAME, options=options)
    assert [len(task.train) for task in cut.tasks] == [8, 8]


def test_it_runs_resumes_compares_and_reports(streams, monkeypatch):
    monkeypatch.chdir(streams)
    config = hm.resolve(NAME, "er", [*QUICK, "stream.first_tasks=2"])
    place = Place(streams / "run" / "seed-0")
    result = execute(config, 0, place)
    assert resume(place.directory)["scenarios"] == result["scenarios"]
    with refusing("not trusted"), pytest.raises(Untrusted, match=f"{NAME}: not trusted"):
        resume(place.directory)
    assert default_directory(config).parts[0] == "runs" and ":" not in str(default_directory(config))
    found = compare(NAME, ["er", "ewc"], QUICK, seeds=(0,), out=streams / "runs", bounds=False)
    assert len(found.summary.rows) == 2
    assert NAME in write(found.directories, format="csv")


def test_errors_say_what_to_do(streams):
    for name, said in [
        (
            "python:own_streams:ground",
            "expected a hypermnesia.Stream, or a function that returns one, .* got int",
        ),
        ("python:own_streams:broken", "python:own_streams:broken raised ZeroDivisionError"),
        ("python:own_streams:sky", "'own_streams' has no 'sky'; it has: broken, flats, ground"),
        ("python:nowhere:sky", "there is no module 'nowhere'"),
    ]:
        with pytest.raises(hm.HypermnesiaError, match=said):
            hm.load(name)
    with pytest.raises(
        hm.HypermnesiaError, match="python:own_streams:flats has no stream.size; its options: stream.bl"
    ):
        hm.load(NAME, options=hm.StreamOptions(size=8))


def test_the_directory_of_a_long_path_has_a_name_that_can_be_made(tmp_path):
    cfg = hm.resolve(f"npz:/{'/'.join(['ü' * 60] * 3)}/end", "finetune")
    place = default_directory(cfg, tmp_path)
    place.mkdir(parents=True)
    assert place.parent.name.endswith("_end")
