import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hypermnesia import report
from hypermnesia.core.errors import HypermnesiaError


@pytest.mark.parametrize("format", list(report.FORMATS))
def test_write_to_a_file_or_as_text(runs: Any, tmp_path: Path, format: str) -> None:
    runs.run("er", seeds=1)
    output = tmp_path / f"report.{format}"
    output.write_text("old", encoding="utf-8")
    assert report.write([runs.root], output, format) == output
    assert output.read_text(encoding="utf-8") == report.write([runs.root], None, format)
    assert sorted(path.name for path in tmp_path.iterdir()) == [output.name, "runs"]


def test_an_unknown_format_is_found_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(HypermnesiaError, match="unknown report format 'htm'; did you mean 'html'"):
        report.write([tmp_path / "absent"], None, "htm")


def test_a_place_that_cannot_be_written_to(runs: Any, tmp_path: Path) -> None:
    runs.run("er", seeds=1)
    with pytest.raises(
        HypermnesiaError, match="cannot write the report to '.*/no/report.html': No such file"
    ):
        report.write([runs.root], tmp_path / "no" / "report.html", "html")
    (tmp_path / "taken").mkdir()
    with pytest.raises(HypermnesiaError, match="cannot write the report to '.*/taken': Is a directory"):
        report.write([runs.root], tmp_path / "taken", "html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "taken"]


def test_names_of_files_that_are_no_text(runs: Any) -> None:
    runs.run("er", seeds=1)
    odd = Path(os.fsdecode(os.fsencode(runs.root) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "result.json").write_text("{}", encoding="utf-8")
    page = report.write([runs.root], None, "html")
    assert isinstance(page, str) and "<code>caf?</code>" in page


def test_torch_is_not_imported(runs: Any) -> None:
    runs.run("er", seeds=2)
    program = (
        "import sys; from pathlib import Path; from hypermnesia import report\n"
        "for format in report.FORMATS: report.write([Path(sys.argv[1])], None, format)\n"
        "sys.exit('torch was imported' if 'torch' in sys.modules else 0)"
    )
    source = Path(report.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run(
        [sys.executable, "-c", program, str(runs.root)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
