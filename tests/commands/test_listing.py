"""What there is to choose from."""

import io

import pytest
from rich.console import Console

from hypermnesia.commands.listing import listed
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import BENCHMARKS
from hypermnesia.evaluation.infer import INFERENCES
from hypermnesia.experiments import recipes
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.recipes import Published, Recipe
from hypermnesia.nets import NETS
from hypermnesia.weights import GENERATORS


def text(kind: str, *words: str, ledger=None, tmp_path=None) -> str:
    page = Console(file=io.StringIO(), width=250, markup=False, highlight=False)
    page.print(listed(kind, words, ledger))
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def test_runs_are_listed_and_their_code_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, toml in (("mine", 'benchmark = "b"\napproach = "python:theirs:Bomb"\n'), ("broken", "?")):
        seed = tmp_path / name / "seed-0"
        seed.mkdir(parents=True)
        (seed / "config.toml").write_text(toml)
        (seed / "environment.json").write_text('{"seed": 0, "seeds": [0, 1, 2]}')
    (tmp_path / "theirs.py").write_text("raise SystemExit")
    broken, mine = text("runs", ".").splitlines()[1:]
    assert mine.split()[-4:] == ["0", "of", "3", "–"] and " b " in mine and "python:theirs:Bomb" in mine
    assert "broken/seed-0 is damaged: config.toml cannot be used" in broken
    with pytest.raises(HypermnesiaError, match="there are no runs below nowhere; name the directory"):
        text("runs", "nowhere")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("benchmarks", BENCHMARKS),
        ("approaches", APPROACHES),
        ("nets", NETS),
        ("generators", GENERATORS),
        ("inferences", INFERENCES),
    ],
)
def test_everything_is_listed_with_what_it_is(kind, names):
    lines = {line.split()[0]: line for line in text(kind).splitlines()}
    for name in names:
        assert len(lines[name].split()) >= 3


def values(*words: str) -> dict[str, str]:
    """key → value as the list of options has them."""
    lines = text("options", *words).splitlines()[2:]
    return {line.split()[0]: line.split()[1] for line in lines if not line.startswith(" ")}


def test_options_show_the_values_of_that_benchmark():
    lines = values("hnet", "split-mnist")
    assert lines["net"] == "mlp" and lines["generator"] == "chunked"
    assert lines["weights.generator.chunk"] == "42000" and lines["train.iterations"] == "2000"
    assert lines["net.hidden"] == "[400,400]" and lines["train.epochs"] == "none"
    assert values("hnet")["train.iterations"] != "2000"
    assert lines["stream.tasks"] == "5" and values("er", "rotated-mnist")["stream.tasks"] == "20"
    assert values("er", "rotated-mnist", "stream.tasks=3")["stream.tasks"] == "3"
    assert values("er", "split-digits", "stream.classes_per_task=[4,3,3]")["stream.tasks"] == "none"
    assert values("finetune", "split-cifar100-5x20-fecam")["stream.order"].startswith("[87,0,52,58,")


def test_options_follow_the_words():
    plain, masked = (
        {key.rpartition(".")[0] for key in values("er", word)} for word in ("weights=plain", "weights=mask")
    )
    assert {"weights.mask", "weights.generator", "drift", "anchor", "infer"} == masked - plain


def test_options_say_what_they_do():
    [line] = [line for line in text("options", "hnet").splitlines() if line.startswith("drift.beta ")]
    assert "number" in line and "Strength" in line


def test_options_of_the_stream_are_those_that_it_takes():
    split, rotated = (
        {key for key in values("er", name) if key.startswith("stream.")}
        for name in ("split-mnist", "rotated-mnist")
    )
    assert {"stream.order", "stream.interpolation"} & split == {"stream.order"}
    assert {"stream.order", "stream.interpolation"} & rotated == {"stream.interpolation"}


def test_options_name_penalties_that_may_join():
    assert values("er")["ewc.strength"] == "–" and "ewc.strength" not in values("ewc")
    assert values("er", "split-digits", "ewc.strength=7")["ewc.strength"] == "7.0"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["options"], "list options APPROACH [BENCHMARK]"),
        (["options", "a", "b", "c"], "list options APPROACH [BENCHMARK]"),
        (["options", "hnett"], "unknown approach 'hnett'"),
        (["options", "hnet", "split-mnsit"], "unknown benchmark 'split-mnsit'; did you mean 'split-mnist'?"),
        (["nets", "x"], "list nets takes nothing more, but got: x"),
        (["benchmark"], "unknown list 'benchmark'; did you mean 'benchmarks'?"),
    ],
)
def test_bad_input_is_told(words, fault):
    with pytest.raises(HypermnesiaError) as error:
        listed(words[0], words[1:], None)  # pyright: ignore[reportArgumentType]
    assert fault in str(error.value)


def test_recipes_tell_what_was_reproduced(monkeypatch, tmp_path):
    def recipe(name: str, *checked: bool) -> Recipe:
        figures = [
            Published(metric="scenarios.task.average_accuracy", value=0.99, tolerance=0, checked=c)
            for c in checked
        ]
        return Recipe(
            name=name, benchmark="b", approach="a", source="s", settings={}, published=tuple(figures)
        )

    known = {
        r.name: r for r in (recipe("both", True, True), recipe("one", True, False), recipe("none", False))
    }
    monkeypatch.setattr(recipes, "all_recipes", lambda: known)
    ledger = tmp_path / "results.toml"
    ledger.write_text(
        '[both.full]\npassed = true\nseeds = [0, 1]\ndate = "2025-01-02"\nprocessor = "a CPU"\n'
        '[both.full.figures."scenarios.task.average_accuracy"]\nmean = 0.9812\n'
        '[both.short]\npassed = false\nseeds = [0]\ndate = "2025-01-01"\nprocessor = "a CPU"\n'
        '[both.short.figures."scenarios.task.average_accuracy"]\nmean = "none"\n'
    )
    with pytest.raises(HypermnesiaError, match="the ledger's entry of budget short is damaged"):
        listed("recipes", [], ledger)
    ledger.write_text(ledger.read_text().replace('"none"', "0.5"))
    shown = text("recipes", ledger=ledger)
    assert "full: 98.12 (passed, 2 seeds, 2025-01-02, a CPU)" in shown
    assert "short: 50.00 (NOT within tolerance, 1 seeds, 2025-01-01, a CPU)" in shown
    columns = [line.split()[3] for line in shown.splitlines()[1:] if line.split()[0] in known]
    assert columns == ["yes", "in", "no"]
    assert "98.12" not in text("recipes", ledger=tmp_path / "absent.toml")
