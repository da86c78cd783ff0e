"""The notebook of the first steps runs as it stands, with a bar, tables and pictures."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def test_it_runs_and_shows_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    book = nbformat.read(ROOT / "examples" / "first_steps.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), "it is kept without outputs"
    for cell in book.cells:
        if cell.cell_type == "code":
            cell.source = cell.source.replace("iterations=100", "iterations=60")
    nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
    shown = [_shown(cell) for cell in book.cells if cell.cell_type == "code"]
    assert "Stream split-digits: 5 tasks" in shown[0]
    for result in shown[1:3]:
        assert "<progress value=" in result and "<th>class</th>" in result and "data:image/svg+xml" in result
    assert "written by Chunked" in shown[3] and "data:image/svg+xml" in shown[3]
    finetune, er, hnet = (float(line.split()[-2]) for line in shown[4].splitlines() if line)
    assert finetune < 30 and er > 50 and hnet > 50
    assert "asked:" in shown[5] and "data:image/svg+xml" in shown[6]


def _shown(cell: Any) -> str:
    """All that a cell has put out."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts += [str(value) for value in output.get("data", {}).values()]
    return "\n".join(parts)
