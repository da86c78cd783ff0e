"""What a run depends on beside its configuration."""

import subprocess

import hypermnesia
from hypermnesia.runs import environment as about
from hypermnesia.runs.environment import commit, environment, processor


def test_the_environment_names_versions_and_machine():
    found = environment("cpu")
    assert found["hypermnesia"] == hypermnesia.__version__ and found["device"] == "cpu"
    assert set(found["versions"]) == {"torch", "numpy", "safetensors"} and found["threads"] >= 1
    assert found["processor"] == processor() != ""


def test_the_commit_is_that_of_the_checkout(monkeypatch):
    answers = {"rev-parse": "a" * 40, "status": " M src/hypermnesia/fit.py"}
    monkeypatch.setattr(about, "_git", lambda directory, *words: answers[words[0]])
    monkeypatch.setattr(about.Path, "exists", lambda path: True)
    assert commit() == "a" * 40 + "+"
    answers["status"] = ""
    assert commit() == "a" * 40


def test_an_installed_package_has_no_commit(monkeypatch):
    monkeypatch.setattr(about.Path, "exists", lambda path: False)
    assert commit() is None


def test_without_git_there_is_no_commit(monkeypatch):
    monkeypatch.setattr(about.Path, "exists", lambda path: True)
    for error in (FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(about, "_git", fail)
        assert commit() is None
