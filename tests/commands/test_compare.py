"""Comparisons: what takes part, what is run, what is passed over."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from running import SHORT, read

from hypermnesia.commands import compare as comparing
from hypermnesia.commands import tables
from hypermnesia.commands.compare import candidates, compare
from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.experiments import recipes
from hypermnesia.experiments.recipes import Recipe
from hypermnesia.runs import execute
from hypermnesia.runs.directory import environment_of
from hypermnesia.runs.execute import execute_seeds


def names(
    benchmark: str, approaches: list[str], words: list[str], bounds: bool = True
) -> list[tuple[str, dict]]:
    found = candidates(benchmark, approaches, words, Path("runs"), bounds)
    return [(c.config.approach.name, c.config.sections) for c in found]


def test_bounds_take_part_unasked_and_once():
    assert [n for n, _ in names("split-digits", ["hnet"], [])] == ["hnet", "finetune", "joint"]
    assert [n for n, _ in names("split-digits", ["joint", "hnet"], [])] == ["joint", "hnet", "finetune"]
    assert [n for n, _ in names("split-digits", ["hnet"], [], bounds=False)] == ["hnet"]


def test_an_approach_named_twice_takes_part_once():
    assert [n for n, _ in names("split-digits", ["er", "er"], [], bounds=False)] == ["er"]


def test_commas_make_variants_and_a_key_reaches_those_that_have_it():
    found = names("split-digits", ["hnet", "er"], ["beta=0.1,0.2", "memory.size=50"], bounds=False)
    assert [n for n, _ in found] == ["hnet", "hnet", "er"]
    assert [s["drift"].beta for n, s in found if n == "hnet"] == [0.1, 0.2]
    assert [s["method"].memory.size for n, s in found if n == "er"] == [50]


def test_bounds_share_the_conditions_and_nothing_else():
    found = dict(names("split-digits", ["er"], ["weights=mask", "net.hidden=[7]", "iterations=3"]))
    assert found["er"]["weights"].kind == "mask"
    for bound in ("finetune", "joint"):
        assert found[bound]["weights"].kind == "plain"
        assert found[bound]["net"].hidden == (7,) and found[bound]["train"].iterations == 3


@pytest.mark.parametrize(
    ("approaches", "words", "fault"),
    [
        (
            ["hnet"],
            ["memory.size=50"],
            "none of hnet has an option 'memory.size' on split-digits; `hypermnesia list",
        ),
        (["hnet", "si"], ["betta=1"], "none of hnet, si has an option 'betta' on split-digits"),
        (["hnett"], [], "unknown approach 'hnett'; did you mean 'hnet'?"),
        (["hnet"], ["beta=a,b"], "drift.beta: expected number >= 0, got text a"),
        (["hnet"], ["beta"], "'beta' is no option"),
        ([], [], "name at least one approach"),
    ],
)
def test_bad_input_is_told_before_anything_runs(approaches, words, fault, tmp_path):
    with pytest.raises(HypermnesiaError) as error:
        compare("split-digits", approaches, words, out=tmp_path)
    assert fault in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_one_candidate_cannot_do_is_told_before_anything_runs(tmp_path):
    words = [*SHORT, "stream.blurry=0.1"]  # hides the task boundaries that a drift penalty needs
    with pytest.raises(HypermnesiaError, match="needs task boundaries"):
        compare("split-digits", ["er", "hnet"], words, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("compared")
    compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=out)
    return out


def heard(cfg, seed, directory):
    raise AssertionError(f"{cfg.approach.name} with seed {seed} is run again")


def test_what_is_finished_is_not_run_again(compared):
    again = compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=compared, listen=heard)
    rows = again.summary.rows
    assert {row.group.approach for row in rows} == {"separate", "er", "finetune", "joint"}
    means = [row.statistics["class.average_accuracy"]["mean"] for row in rows]
    assert means == sorted(means, reverse=True)
    assert {row.group.approach: row.bound for row in rows if row.bound} == {
        "finetune": "lower bound",
        "joint": "upper bound",
    }
    [best] = [row for row in rows if row.is_best]
    [other] = [row for row in rows if not row.bound and not row.is_best]
    assert best.difference is None and other.difference is not None and other.difference["n"] == 2
    assert again.skipped == again.failed == ()
    assert len(again.directories) == 4 and all((d / "summary.json").exists() for d in again.directories)
    assert again.markdown().startswith("## split-digits")


def test_seeds_that_were_not_asked_do_not_count(compared):
    one = compare("split-digits", ["separate", "er"], SHORT, [1], out=compared, listen=heard)
    assert all(row.statistics["task.average_accuracy"]["n"] == 1 for row in one.summary.rows)


def test_an_interrupted_comparison_runs_only_what_is_missing(compared, tmp_path):
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    [gone] = tmp_path.glob("split-digits/er-*/seed-1")
    shutil.rmtree(gone)
    begun = []

    def listen(cfg, seed, directory):
        begun.append(directory)
        return execute.silent(cfg, seed, directory)

    compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=tmp_path, listen=listen)
    assert begun == [gone]


@pytest.mark.parametrize("name", ["result.json", "config.toml", "environment.json"])
def test_a_damaged_directory_is_told_and_passed_over(compared, tmp_path, name):
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    [hurt] = tmp_path.glob("split-digits/er-*/seed-1")
    (hurt / name).write_bytes(b"\x00")
    found = compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=tmp_path, listen=heard)
    assert any(str(hurt) in text for text in found.skipped)
    counts = {row.group.approach: row.statistics["task.average_accuracy"]["n"] for row in found.summary.rows}
    assert counts == {"separate": 2, "er": 1, "finetune": 2, "joint": 2}


def test_a_run_of_another_version_is_passed_over(compared, tmp_path):
    shutil.copytree(compared, tmp_path, dirs_exist_ok=True)
    [old] = tmp_path.glob("split-digits/er-*/seed-1")
    (old / "result.json").write_text(json.dumps(read(old / "result.json") | {"format": 99}))
    found = compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=tmp_path, listen=heard)
    assert any("has format 99 and this version reads format 1" in text for text in found.skipped)


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    words = [*SHORT, "optimizer.name=sgd", "lr=0.1,1e30"]
    found = compare("split-digits", ["er"], words, out=tmp_path, bounds=False)
    [text] = found.failed
    assert "the loss became" in text
    assert [row.group.label for row in found.summary.rows] == ["er"]


def test_seeds_can_be_stacked(tmp_path, capsys):
    found = compare("split-digits", ["er", "mir"], SHORT, [0, 1], out=tmp_path, bounds=False, stack=True)
    assert "the seeds of mir run one after another: its gradients are computed in" in capsys.readouterr().err
    assert {row.group.label: len(row.group.seeds) for row in found.summary.rows} == {"er": 2, "mir": 2}
    stacked = {path.parts[-2]: "stacked_with" in environment_of(path) for path in tmp_path.glob("*/*/seed-1")}
    assert {name.split("-")[0]: together for name, together in stacked.items()} == {"er": True, "mir": False}


def test_a_stack_that_fails_leaves_its_seeds_to_run_alone(tmp_path, capsys, monkeypatch):
    def failing(entries, listen):
        raise RunFailed(f"the loss of one of {len(entries)} became nan")

    monkeypatch.setattr(comparing, "execute_together", failing)
    found = compare("split-digits", ["er"], SHORT, [0, 1], out=tmp_path, bounds=False, stack=True)
    told = "the seeds of er go on one after another: the loss of one of 2 became nan"
    assert told in capsys.readouterr().err
    assert [len(row.group.seeds) for row in found.summary.rows] == [2] and not found.failed


def test_a_bound_that_saw_less_than_a_rival_says_so(compared, tmp_path):
    fair = compare("split-digits", ["separate", "er"], SHORT, [0, 1], out=compared, listen=heard)
    assert fair.notes == ()
    words = ["train.threads=1", "train.iterations=4,8"]
    unequal = compare("split-digits", ["er"], words, out=tmp_path)
    [note] = unequal.notes
    assert note.startswith("joint saw 640 samples, er 1,280: it may be no upper bound; say train.iterations")
    page = Console(file=io.StringIO(), width=80)
    page.print(tables.comparison(unequal, 80))
    assert isinstance(page.file, io.StringIO)
    said = page.file.getvalue()
    assert (
        said.startswith("NOT ALL ROWS CAN BE COMPARED: only those of one set")
        and "budget: train.iterations is " in said
    )
    assert all(
        name in said
        for name in ("er (iterations=8) [", "er (iterations=4) [", "joint (iterations=8) (upper bound) [")
    )


def test_a_contender_without_published_settings_says_so(tmp_path, monkeypatch):
    published = Recipe(
        name="d", benchmark="split-digits", approach="er", source="a paper", settings={}, default=True
    )
    monkeypatch.setattr(recipes, "all_recipes", lambda: {"d": published})
    found = compare("split-digits", ["er", "der"], SHORT, out=tmp_path, bounds=False)
    told = "no published settings for der on split-digits: its own defaults hold, and the benchmark's"
    assert found.notes == (told,)


def test_when_all_fail_there_is_nothing_to_compare(tmp_path):
    words = [*SHORT, "optimizer.name=sgd", "lr=1e30"]
    with pytest.raises(RunFailed, match="there is nothing to compare: .*the loss became"):
        compare("split-digits", ["er"], words, out=tmp_path, bounds=False)


def test_runs_of_the_run_command_are_recognised(compared, tmp_path):
    [contender] = candidates("split-digits", ["er"], SHORT, tmp_path, bounds=False)
    execute_seeds(contender.config, [0], contender.directory)
    found = compare("split-digits", ["er"], SHORT, out=tmp_path, bounds=False, listen=heard)
    assert found.directories == (contender.directory,)
