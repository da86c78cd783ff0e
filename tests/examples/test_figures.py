"""The example notebook, executed cell by cell on real (tiny) runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hypermnesia.commands.compare import compare

NOTEBOOK = Path(__file__).parents[2] / "examples" / "figures.ipynb"
CHECK = """
figures = [plt.figure(number) for number in plt.get_fignums()]
for figure in figures:
    figure.canvas.draw()  # what cannot be drawn fails here
matrices, curves, bars = figures
drawn = [axis for axis in matrices.axes if axis.get_title()]
labelled = [axis.get_xlabel() and axis.get_ylabel() for axis in drawn]
print(json.dumps({
    "matrices": sorted(axis.get_title() for axis in drawn),
    "labelled": all(labelled),
    "numbers": sorted(text.get_text() for text in drawn[0].texts),
    "curves": sorted(text.get_text() for text in curves.axes[0].get_legend().get_texts()),
    "ends": {line.get_label(): [float(line.get_xdata()[-1]), float(line.get_ydata()[-1])]
             for line in curves.axes[0].get_lines()},
    "bars": sorted(round(bar.get_width(), 6) for bar in bars.axes[0].patches),
    "units": [curves.axes[0].get_ylabel(), bars.axes[0].get_xlabel()],
}))
"""


def cells() -> list[dict]:
    return json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def execute(runs: Path, where: Path, check: str) -> subprocess.CompletedProcess[str]:
    """All code cells in order, in a process of their own, and `check` behind them."""
    code = ["".join(cell["source"]) for cell in cells() if cell["cell_type"] == "code"]
    (where / "notebook.py").write_text("\n\n".join([*code, check]), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-W", "error", "notebook.py"],
        cwd=where,
        env=os.environ | {"RUNS": str(runs), "MPLBACKEND": "agg", "MPLCONFIGDIR": str(where)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_notebook_draws_the_runs(tmp_path: Path):
    words = ["train.iterations=4", "train.threads=1"]
    made = compare("split-digits", ["finetune", "er", "joint"], words, (0, 1), out=tmp_path / "runs")
    done = execute(tmp_path / "runs", tmp_path, CHECK)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["matrices"] == ["er", "finetune"] and found["labelled"]
    assert len(found["numbers"]) == 15  # the lower triangle of five tasks
    assert found["curves"] == ["er", "finetune", "joint"]
    assert found["units"] == ["average accuracy, % (class)", "forgetting, points (class)"]
    means = {
        (row.group.approach, key): 100 * mean
        for row in made.summary.rows
        for key, statistics in row.statistics.items()
        if (mean := statistics["mean"]) is not None
    }
    for name in ("er", "finetune"):
        last, accuracy = found["ends"][name]
        assert last == 5
        assert accuracy == pytest.approx(means[name, "class.average_accuracy"])
    bars = [means[name, "class.forgetting"] for name in ("er", "finetune")]
    assert found["bars"] == pytest.approx(sorted(bars), abs=1e-5)


def test_without_runs_it_says_what_to_do(tmp_path: Path):
    done = execute(tmp_path, tmp_path, "")
    assert done.returncode == 1
    assert f"no result.json with the scenario 'class' below {tmp_path}: run `make demo` first" in done.stderr


def test_it_is_stored_without_outputs():
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in cells())
