import os
from pathlib import Path
from typing import Any

import pytest

from hypermnesia import report
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.report.load import Note, Runs


def found(runs: Runs) -> dict[str, dict[str, list[int]]]:
    """benchmark -> label -> seeds"""
    return {
        b.name: {group.label: [seed.result.seed for seed in group.seeds] for group in b.groups}
        for b in runs.benchmarks
    }


def test_a_seed_a_run_and_a_parent(runs: Any) -> None:
    runs.run("er", seeds=2)
    runs.run("hnet", seeds=1)
    assert found(report.load([runs.root / "er" / "seed-1"])) == {"split-digits": {"er": [1]}}
    assert found(report.load([runs.root / "er"])) == {"split-digits": {"er": [0, 1]}}
    everything = report.load([runs.root.parent])
    assert found(everything) == {"split-digits": {"er": [0, 1], "hnet": [0]}}
    assert everything.notes == ()


def test_a_runs_copy_of_its_only_result_counts_once(runs: Any) -> None:
    run = runs.run("er", seeds=1)
    (run / "result.json").write_bytes((run / "seed-0" / "result.json").read_bytes())
    loaded = report.load([runs.root])
    assert found(loaded) == {"split-digits": {"er": [0]}} and loaded.notes == ()


def test_directories_inside_each_other_count_once(runs: Any) -> None:
    runs.run("er", seeds=2)
    loaded = report.load([runs.root, runs.root / "er", runs.root / "er" / "seed-0"])
    assert found(loaded) == {"split-digits": {"er": [0, 1]}} and loaded.notes == ()


def test_seeds_of_one_configuration_meet_wherever_they_lie(runs: Any) -> None:
    runs.seed("monday", runs.result("er", 0))
    runs.seed("tuesday", runs.result("er", 1))
    assert found(report.load([runs.root])) == {"split-digits": {"er": [0, 1]}}


def test_variants_are_told_apart_by_their_settings(runs: Any) -> None:
    for cut in ("layer1", "layer2"):
        runs.seed(f"phn-{cut}", runs.result("phn", 0, config_sha256=cut), f'[phn]\ncut = "{cut}"\n')
    assert set(found(report.load([runs.root]))["split-digits"]) == {"phn (cut=layer1)", "phn (cut=layer2)"}


def test_the_same_seed_twice_is_noted(runs: Any) -> None:
    runs.seed("a", runs.result("er", 0))
    runs.seed("b", runs.result("er", 0))
    loaded = report.load([runs.root])
    assert found(loaded) == {"split-digits": {"er": [0]}}
    assert loaded.notes == (Note("b/seed-0", "seed 0 of this configuration is read from a/seed-0"),)


def test_seeds_of_another_shape_are_noted(runs: Any) -> None:
    runs.seed("a", runs.result("er", 0))
    runs.seed("a", runs.result("er", 1, tasks=3))
    loaded = report.load([runs.root])
    assert found(loaded) == {"split-digits": {"er": [0]}}
    assert loaded.notes == (Note("a/seed-1", "its matrices have other shapes than those of a/seed-0"),)


def test_damage_and_other_versions_are_noted_and_skipped(runs: Any) -> None:
    runs.run("er", seeds=1)
    cut = runs.seed("cut", runs.result("hnet", 0)) / "result.json"
    cut.write_text(cut.read_text(encoding="utf-8")[:100], encoding="utf-8")
    runs.seed("new", runs.result("hnet", 0, format=7))
    (runs.seed("going", runs.result("hnet", 0)) / "result.json").unlink()
    runs.seed("empty", runs.result("hnet", 0, scenarios={}))
    sweep = runs.sweep("search") / "sweep.json"
    sweep.write_text("{}", encoding="utf-8")
    loaded = report.load([runs.root])
    assert found(loaded) == {"split-digits": {"er": [0]}}
    reasons = {note.path: note.reason for note in loaded.notes}
    assert list(reasons) == ["cut/seed-0", "empty/seed-0", "going/seed-0", "new/seed-0", "search"]
    assert reasons["cut/seed-0"].startswith("result.json is not JSON (cut short?)")
    assert reasons["going/seed-0"] == "no result.json: the run has not finished"
    assert reasons["empty/seed-0"] == "result.json: scenarios: no accuracy in any scenario"
    assert "format 7 and this version reads format 1" in reasons["new/seed-0"]
    assert reasons["search"].startswith("sweep.json: benchmark: Field required")


def test_a_run_keeps_its_figures_when_other_files_are_damaged(runs: Any) -> None:
    directory = runs.seed("er", runs.result("er", 0))
    (directory / "config.toml").write_text("lr = = 1", encoding="utf-8")
    (directory / "environment.json").write_text("[1]", encoding="utf-8")
    loaded = report.load([runs.root])
    seed = loaded.benchmarks[0].groups[0].first
    assert seed.config is None and seed.settings == {} and seed.environment == {}
    config, environment = loaded.notes
    assert config.reason.startswith("its configuration is left out: config.toml: Invalid value")
    assert environment.reason == (
        "its environment is left out: environment.json holds a list, expected an object"
    )


def test_secrets_of_a_configuration_are_not_loaded(runs: Any) -> None:
    runs.seed("er", runs.result("er", 0), '[track]\napi_key = "tell nobody"\n')
    seed = report.load([runs.root]).benchmarks[0].groups[0].first
    assert seed.config is not None and "api_key" in seed.config
    assert "tell nobody" not in seed.config + str(seed.settings)


def test_trials_of_a_sweep_are_not_compared(runs: Any) -> None:
    sweep = runs.sweep()
    for number, name in enumerate(("sweep/trials/0", "alone")):
        scenarios = runs.result("hnet", number)["scenarios"]
        trial = runs.result("hnet", number, scenarios={}, validation={"scenarios": scenarios})
        runs.seed(name, trial)
    (sweep / "trials" / "1" / "seed-0").mkdir(parents=True)
    (sweep / "trials" / "1" / "seed-0" / "config.toml").touch()  # pruned
    runs.seed("sweep/final", runs.result("hnet", 7))
    loaded = report.load([runs.root])
    assert found(loaded) == {"split-digits": {"hnet": [7]}}
    assert [record.path for record in loaded.sweeps] == ["sweep"]
    assert loaded.notes == (
        Note("alone/seed-1", "evaluated on validation parts only, as trials of a search are"),
    )


def test_links_below_a_directory_are_not_followed(runs: Any, tmp_path: Path) -> None:
    runs.run("er", seeds=1)
    (tmp_path / "elsewhere").mkdir()
    os.symlink(runs.root, runs.root / "er" / "round")
    os.symlink(runs.root / "er", tmp_path / "elsewhere" / "er")
    with pytest.raises(HypermnesiaError, match="no usable run"):
        report.load([tmp_path / "elsewhere"])
    assert found(report.load([runs.root])) == {"split-digits": {"er": [0]}}


def test_a_result_alone(runs: Any) -> None:
    directory = runs.seed("bare", runs.result("a", 3), events=False)
    for name in ("config.toml", "environment.json"):
        (directory / name).unlink()
    loaded = report.load([directory])
    assert found(loaded) == {"split-digits": {"a": [3]}}
    assert [note.reason for note in loaded.notes] == [
        "its configuration is left out: config.toml is not there",
        "its environment is left out: environment.json is not there",
    ]


def test_nothing_usable_is_an_error_that_says_what_was_found(runs: Any, tmp_path: Path) -> None:
    with pytest.raises(HypermnesiaError, match=r"no such directory: '.*/runs'; report reads run directories"):
        report.load([runs.root])
    runs.root.mkdir()
    with pytest.raises(
        HypermnesiaError, match="no usable run in '.*': expected result.json or sweep.json in it"
    ):
        report.load([runs.root])
    runs.seed("new", runs.result("hnet", 0, format=7))
    with pytest.raises(HypermnesiaError, match=r"1 skipped:\n  new/seed-0: result.json has format 7"):
        report.load([runs.root])
    with pytest.raises(HypermnesiaError, match="no usable run in no directory"):
        report.load([])


def test_scenarios_come_hardest_first(runs: Any) -> None:
    one = runs.scenario([[0.5]])
    runs.seed("er", runs.result("er", 0, scenarios={"task": one, "mine": one, "domain": one, "class": one}))
    assert report.load([runs.root]).benchmarks[0].scenarios == ("class", "domain", "task", "mine")
