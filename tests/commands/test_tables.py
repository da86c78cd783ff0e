"""Results as tables."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from hypermnesia.commands import tables
from hypermnesia.commands.progress import console
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.statistics import statistics
from hypermnesia.report.summary import _columns
from hypermnesia.runs.predict import Prediction

MATRIX = [[0.9, 0.5, 0.4], [0.8, 0.7, None], [0.6, 0.7, 1.0]]


def shown(*tables_: object, width: int = 120) -> str:
    page = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    for table in tables_:
        page.print(table)
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue()


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_every_variant_has_a_source():
    assert set(tables.SOURCES) == set(metrics.variants(MATRIX))


def test_a_matrix_in_percent():
    text = rows_of(shown(tables.matrix(MATRIX, "class", 80)))
    assert text[2] == ["task", "1", "90.0", "50.0", "40.0"]
    assert text[3] == ["task", "2", "80.0", "70.0", "–"]
    assert text[4] == ["task", "3", "60.0", "70.0", "100.0"]


def test_short_rows_are_filled_up():
    assert rows_of(shown(tables.matrix([[0.9], [0.8, 0.7]], "m", 80)))[2] == ["task", "1", "90.0", "–"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_middle_of_a_large_matrix_is_left_out(width):
    large = [[(i + j) / 200 for j in range(100)] for i in range(100)]
    text = shown(tables.matrix(large, "m", width), width=width)
    assert max(map(len, text.splitlines())) <= width and len(text.splitlines()) <= 30
    assert "test 1 " in text and "test 100" in text and "…" in text
    assert rows_of(text)[2][2] == "0.0" and rows_of(text)[-1][-1] == "99.0"


def test_a_text_that_looks_like_markup_is_shown():
    table = tables.plain_table("a")
    table.add_row("[bold]x[/bold] :smile:")
    assert "[bold]x[/bold]" in shown(table)


def summary(values: list[float]) -> dict:
    scenario = {"average_accuracy": statistics(values), "forgetting": statistics([-v / 10 for v in values])}
    costs = {
        "stored_bytes": statistics([4.1e6]),
        "train_seconds": statistics([75.0]),
        "steps_per_second": statistics([]),
    }
    return {"seeds": list(range(len(values))), "scenarios": {"class": scenario}, "costs": costs}


def test_the_summary_of_a_run():
    one, two = shown(tables.summary(summary([0.5]))), shown(tables.summary(summary([0.5, 0.6])))
    assert "class-incremental" in one and "±" not in one
    assert rows_of(one)[1] == ["average", "accuracy", "50.00"]
    assert rows_of(one)[2] == ["forgetting", "−5.00"]
    assert "55.00 ± 63.53" in two and "2 seeds, ± is half of the 95 % interval" in two
    assert "forward transfer" not in two  # nothing to show


def test_costs_in_units():
    text = shown(tables.costs(summary([0.5])))
    assert "4.10 MB" in text and "1 min 15 s" in text and "steps per second" not in text


def test_the_mean_of_matrices_is_undefined_where_one_is():
    assert tables.mean_matrix([[[0.5, None]], [[0.7, 0.1]]]) == [[pytest.approx(0.6), None]]


def test_results_with_variants():
    page = Console(file=io.StringIO(), width=120, markup=False, highlight=False)
    scenario = metrics.summarise(MATRIX, [0.5, 0.5, 0.5])
    about = {"benchmark": "split-pets", "approach": "er", "seed": 3, "class_names": ["cat", "dog", "eel\x1b"]}
    about["task_names"] = about["class_names"]
    tables.show_results(page, [about | {"scenarios": {"task": scenario}}], with_variants=True)
    assert isinstance(page.file, io.StringIO)
    text = page.file.getvalue()
    assert text.startswith("split-pets · er · seed 3\n3 classes: cat, dog, eel\\x1b\n")
    assert "test 1: cat · test 2: dog · test 3: eel\\x1b\n" in text
    found = {cells[0]: cells[1] for cells in rows_of(text) if cells and cells[0] in tables.SOURCES}
    assert set(found) == set(tables.SOURCES)
    assert found["acc_gem"] == "76.67"
    assert (
        scenario["forward_transfer"] is None and found["fwt_gem"] == "–"
    )  # an entry above the diagonal is absent


def test_seeds_whose_streams_differ_in_length_are_shown():
    page = Console(file=io.StringIO(), width=120, markup=False, highlight=False)
    about = {"benchmark": "cir-pets", "approach": "er", "class_names": ["cat", "dog"], "task_names": []}
    matrices = [[[0.5, 0.25]], [[0.75, 0.25], [1.0, 0.5]]]
    results = [
        about | {"seed": seed, "scenarios": {"class": metrics.summarise(rows)}}
        for seed, rows in enumerate(matrices)
    ]
    tables.show_results(page, results, with_variants=False)
    assert isinstance(page.file, io.StringIO)
    assert "accuracy in %, seed 0 (the streams of the seeds differ in length)" in page.file.getvalue()


def test_tests_of_classes_have_no_transfer_though_they_are_as_many_as_tasks():
    page = Console(file=io.StringIO(), width=120, markup=False, highlight=False)
    about = {"benchmark": "cir-pets", "approach": "er", "seed": 0}
    about |= {"class_names": ["cat", "dog"], "task_names": ["first", "second"]}
    scenario = metrics.summarise([[0.9, 0.0], [0.5, 0.7]], seen=[[0, 1]] * 2, present=[[0], [1]])
    tables.show_results(page, [about | {"scenarios": {"class": scenario}}], with_variants=True)
    assert isinstance(page.file, io.StringIO)
    text = page.file.getvalue()
    assert "test 1: cat · test 2: dog" in text
    assert {cells[1] for cells in rows_of(text) if cells and cells[0] in tables.SOURCES} == {"–"}


def test_pasted_matrices_that_are_not_square_say_so():
    page = Console(file=io.StringIO(), width=120, markup=False, highlight=False)
    tables.pasted(page, [[0.5, 0.5]])
    assert isinstance(page.file, io.StringIO)
    assert "The matrix is not square" in page.file.getvalue()


def test_the_compression_ratio_stands_below_the_costs():
    """Numbers of the generator over those of its target, where there is a generator."""
    costs = {"target_parameters": statistics([88_802.0]), "generator_parameters": statistics([88_542.0])}
    last = rows_of(shown(tables.costs({"costs": costs})))[-1]
    assert last == ["compression", "ratio,", "generator", "to", "target", "0.997"]
    costs["target_parameters"] = statistics([193.0])
    assert "458.767 (generator.compression=1.0: as large as it)" in shown(tables.costs({"costs": costs}))
    assert "compression" not in shown(tables.costs({"costs": {"target_parameters": statistics([9.0])}}))


def test_names_of_predictions_neither_break_lines_nor_reach_the_terminal(capsys):
    evil = "\x1b[2J\nhypermnesia: all is well"
    found = [Prediction(Path(f"{evil}.png"), 0, True, ((evil, 0.9), (f"{evil}2", 0.1)))]
    console().print(tables.predictions(found, [evil], 80))
    console().print(Text(f"{evil}"))
    said = capsys.readouterr().out
    assert "\x1b" not in said and "\x1b".encode("unicode_escape").decode() + "[2J" in said
    assert not [line for line in said.splitlines()[:-1] if line.startswith("hypermnesia")]


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("mean_absolute_error", "Mean absolute error\ntask"),
        ("forgetting", "Forgetting\ntask, points"),
    ],
)
def test_heads_name_scenario_and_unit_where_there_are_any(name, head):
    columns = {column.key: column for column in _columns(["task"], numbers=True)}
    assert tables._head(columns[f"task.{name}"]) == head
