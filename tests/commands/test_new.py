"""`hypermnesia new method NAME`: files that run as they are written."""

from importlib import import_module

import pytest

from hypermnesia.commands.app import main
from hypermnesia.commands.new import written
from hypermnesia.core.errors import HypermnesiaError


def test_its_test_passes_and_it_runs_at_once(tmp_path, monkeypatch, capsys):
    paths = written("method", "gentle_pull", tmp_path)
    assert [path.name for path in paths] == ["gentle_pull.py", "test_gentle_pull.py"]
    assert "class GentlePull(hm.Method):" in paths[0].read_text("utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    tests = [
        test for name, test in vars(import_module("test_gentle_pull")).items() if name.startswith("test_")
    ]
    for test in tests:
        test()
    assert len(tests) == 3
    words = ["run", "split-digits", "python:gentle_pull:GentlePull", "strength=0.1", "train.iterations=2"]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "train.threads=1", "--out", str(tmp_path / "run")])
    assert not stopped.value.code, capsys.readouterr().err
    assert (tmp_path / "run" / "seed-0" / "result.json").is_file()


def test_it_says_what_to_do_next(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["new", "method", "mine", "--out", str(tmp_path / "sub")])
    assert not stopped.value.code
    said = capsys.readouterr().out
    assert f"written: {tmp_path / 'sub' / 'mine.py'}" in said
    assert "try it: hypermnesia run split-digits python:mine:Mine strength=0.1" in said


def test_errors_say_what_to_do(tmp_path):
    written("method", "mine", tmp_path)
    for kind, name, said in [
        ("method", "mine", r"mine\.py exists already; take another name, or remove it"),
        ("method", "My-Method", "expected lower-case letters, digits and _, such as my_method"),
        ("method", "class", "expected lower-case letters, digits and _"),
        ("generator", "mine", "unknown template 'generator'"),
    ]:
        with pytest.raises(HypermnesiaError, match=said):
            written(kind, name, tmp_path)
