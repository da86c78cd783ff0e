import csv
import io
import re
from typing import Any

import pytest

from hypermnesia import report
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.report import tables


def text(runs: Any, format: str) -> str:
    return report.render(report.load([runs.root]), format)


@pytest.fixture
def two(runs: Any) -> Any:
    for approach, values in (("er", (0.8, 0.9)), ("hnet_50%", (0.95, 0.97))):
        for seed, value in enumerate(values):
            scenarios = {"task": {"matrix": [[value]], "average_accuracy": value, "forgetting": 0.01}}
            costs = {"stored_bytes": 4.1e6, "train_seconds": 75.0}
            runs.seed(approach, runs.result(approach, seed, scenarios=scenarios, costs=costs))
    return runs


def test_markdown(two: Any) -> None:
    lines = text(two, "md").splitlines()
    assert lines[0] == "## split-digits"
    assert lines[2:6] == [
        "| Approach | Seeds | Accuracy, task-incremental (%) | Forgetting, task-incremental (points) "
        "| Stored | Training time | Difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| hnet\\_50% | 2 | **96.00 ± 12.71** | **1.00 ± 0.00** | **4.10 MB** | **1 min 15 s** | best |",
        "| er | 2 | 85.00 ± 63.53 | **1.00 ± 0.00** | **4.10 MB** | **1 min 15 s** | −11.00 ± 50.82 |",
    ]


def test_latex(two: Any) -> None:
    made = text(two, "latex")
    assert made.startswith("% needs \\usepackage{booktabs}\n\\begin{table}")
    assert r"\begin{tabular}{lrrrrrr}" in made
    assert r"hnet\_50\% & 2 & \textbf{96.00 $\pm$ 12.71} & \textbf{1.00 $\pm$ 0.00} &" in made
    assert r"& $-$11.00 $\pm$ 50.82 \\" in made
    assert made.index(r"\toprule") < made.index(r"\midrule") < made.index(r"\bottomrule")


def test_csv_has_a_row_of_means_and_one_per_seed_without_rounding(two: Any) -> None:
    rows = list(csv.DictReader(io.StringIO(text(two, "csv"))))
    assert [(row["row"], row["approach"], row["seed"], row["n"]) for row in rows] == [
        ("mean", "hnet_50%", "", "2"),
        ("seed", "hnet_50%", "0", "1"),
        ("seed", "hnet_50%", "1", "1"),
        ("mean", "er", "", "2"),
        ("seed", "er", "0", "1"),
        ("seed", "er", "1", "1"),
    ]
    assert rows[1]["task.average_accuracy [%]"] == "95"
    assert float(rows[0]["task.average_accuracy [%] ci95"]) == pytest.approx(12.7062, abs=1e-4)
    assert rows[1]["task.average_accuracy [%] ci95"] == ""
    assert rows[0]["costs.stored_bytes [bytes]"] == "4100000"
    assert rows[0]["costs.peak_memory_bytes [bytes]"] == ""


def test_markdown_escapes(runs: Any) -> None:
    runs.seed("x", runs.result("<script>|*a*\n# b", 0))
    row = text(runs, "md").splitlines()[4]
    assert row.startswith(r"| &lt;script&gt;\|\*a\*")
    assert row.replace(r"\|", "").count("|") == text(runs, "md").splitlines()[3].count("|")


def test_latex_escapes(runs: Any) -> None:
    runs.seed("x", runs.result(r"\input{/etc/passwd} ~^$#<>|", 0))
    runs.seed("broken", runs.result("y", 0, format="2\n\\end{document}"))
    made = text(runs, "latex")
    assert r"\textbackslash{}input\{/etc/passwd\} \textasciitilde{}\textasciicircum{}\$\#" in made
    comments = [line for line in made.splitlines() if "end{document}" in line]
    assert comments and all(line.startswith("%") for line in comments)


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1"])
def test_csv_names_are_no_formulas(runs: Any, name: str) -> None:
    runs.seed("x", runs.result(name, 0))
    rows = list(csv.DictReader(io.StringIO(text(runs, "csv"))))
    assert [row["approach"] for row in rows] == [f"'{name}"] * 2


def test_what_was_not_read_is_told(runs: Any) -> None:
    runs.run("er", seeds=1)
    runs.seed("new", runs.result("hnet", 0, format=9))
    assert "\nNot read:\n\n- new/seed-0: result.json has format 9 and" in text(runs, "md")
    assert re.search(r"^% not read: new/seed-0: result.json has format 9", text(runs, "latex"), re.MULTILINE)


def test_a_sweep_alone_makes_empty_tables(runs: Any) -> None:
    runs.sweep()
    assert text(runs, "md").strip() == ""
    assert text(runs, "csv").startswith("row,benchmark,approach,seed,n")


@pytest.mark.parametrize("escape", [tables._markdown_text, tables._latex_text])
def test_names_in_texts_hold_no_escape_sequences(escape: Any) -> None:
    shown = escape("cat\x1b[2J\x9b")
    assert "\x1b" not in shown and "\x9b" not in shown and "x1b" in shown


def test_columns_are_chosen(two: Any) -> None:
    runs = report.load([two.root])
    lines = report.render(runs, "md", ["costs.stored_bytes", "forgetting"]).splitlines()
    assert lines[2] == "| Approach | Seeds | Stored | Forgetting, task-incremental (points) | Difference |"
    head = report.render(runs, "csv", ["average_accuracy"]).splitlines()[0]
    assert head == "row,benchmark,approach,seed,n,task.average_accuracy [%],task.average_accuracy [%] ci95"
    with pytest.raises(HypermnesiaError, match=r"unknown column 'forgeting'; did you mean 'forgetting'\?"):
        report.render(runs, "latex", ["forgeting"])
    with pytest.raises(HypermnesiaError, match="the page has all columns"):
        report.render(runs, "html", ["forgetting"])
