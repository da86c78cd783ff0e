"""What is printed on terminals of 60, 80 and 120 columns, and where there is none: nothing is cut, and nothing moves."""

import io

import pytest
from report.conftest import Writer
from rich.console import Console

from hypermnesia import report
from hypermnesia.commands import tables, terminal
from hypermnesia.commands.compare import Comparison
from hypermnesia.evaluation import metrics
from hypermnesia.report.summary import summarise

WIDTHS = (60, 80, 120, 160)
"""The last one is that of a file or a pipe."""
NAMES = ("hnet (infer=fecam)", "hnet (infer=entropy)", "er", "finetune (lower bound)")


def shown(width: int, *parts: object) -> list[str]:
    page = Console(
        file=io.StringIO(), width=width, force_terminal=width < 160, color_system=None, markup=False
    )
    for part in parts:
        page.print(part)
    assert isinstance(page.file, io.StringIO)
    return page.file.getvalue().splitlines()


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Four approaches with three seeds each; one was trained for longer than the others."""
    runs = Writer(tmp_path_factory.mktemp("terminal") / "runs")
    for place, (approach, infer, steps) in enumerate(
        (("hnet", "fecam", 300), ("hnet", "entropy", 300), ("er", "", 900), ("finetune", "", 300))
    ):
        config = f'[train]\niterations = {steps}\n[infer]\nname = "{infer}"\n'
        for seed in range(3):
            made = runs.result(approach, seed, kept=0.97 - 0.1 * place, config_sha256=f"{place}")
            runs.seed(f"{place}", made, config)
    found = report.load([runs.root])
    return Comparison(found, summarise(found.benchmarks[0]), (), (), ())


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison_fits_with_all_names_whole(compared: Comparison, width: int) -> None:
    lines = shown(width, tables.comparison(compared, width))
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("NOT ALL ROWS CAN BE COMPARED")
    heads = [i for i, line in enumerate(lines) if line.startswith("approach")]
    assert len(heads) == {60: 5, 80: 3, 120: 2, 160: 1}[width], "\n".join(lines)
    for head in heads:
        rows = [line.rsplit("]", 1)[0] for line in lines[head + 1 : head + 5]]
        assert sorted(row.rsplit(" [", 1)[0] for row in rows) == sorted(NAMES)
    assert "…" not in "".join(lines[heads[0] :])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_matrix_and_the_metrics_of_a_run_fit(width: int) -> None:
    """Ten tasks: where they do not fit, the middle is left out, and the first and the last are there."""
    rows: list[list[float | None]] = [[0.9 if j <= i else None for j in range(10)] for i in range(10)]
    page = Console(file=io.StringIO(), width=width, markup=False, highlight=False)
    names = tuple(f"animals and plants {t}" for t in range(10))
    about = {
        "benchmark": "split-pets",
        "approach": "er",
        "seed": 0,
        "class_names": names,
        "task_names": names,
    }
    result = about | {"scenarios": {"task": metrics.summarise(rows, [0.5] * 10)}}
    tables.show_results(page, [result], with_variants=True)
    assert isinstance(page.file, io.StringIO)
    lines = page.file.getvalue().splitlines()
    assert max(len(line) for line in lines if "classes:" not in line) <= width
    head = next(line for line in lines if line.startswith("after"))
    assert "test 1 " in head and "test 10" in head and ("…" in head) == (width < 90)
    text = " ".join(line.strip() for line in lines)
    assert all(f"test {t + 1}: {name}" in text for t, name in enumerate(names))


def test_nothing_but_text_goes_to_a_file(compared: Comparison) -> None:
    page = Console(file=io.StringIO(), width=160, markup=False)
    page.print(tables.comparison(compared, 160))
    assert isinstance(page.file, io.StringIO)
    assert "\x1b" not in page.file.getvalue()


def test_imports_are_told_beside_what_a_program_may_read(command, monkeypatch):
    """On standard error, and only where that is a terminal."""
    plain = command("list", "nets")
    page = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(terminal, "console", lambda stderr=False: page)
    told = command("list", "nets")
    assert isinstance(page.file, io.StringIO) and "loading torch" in page.file.getvalue()
    assert told.out == plain.out and "mlp" in plain.out and plain.err == ""
