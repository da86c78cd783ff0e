import json
from pathlib import Path
from typing import Any

import pytest

from hypermnesia.report import schema as records
from hypermnesia.report.schema import Damaged, Result, read_record

SMALLEST = {"benchmark": "b", "approach": "a", "seed": 0}


def read(path: Path, value: Any) -> Result:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return read_record(path, Result)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def test_absent_keys_are_null_and_unknown_ones_ignored(path: Path) -> None:
    result = read(path, {**SMALLEST, "scenarios": {"task": {"matrix": [[1, None]]}}, "of_a_later_day": 1})
    assert result.scenarios["task"].matrix == ((1.0, None),)
    assert result.scenarios["task"].forgetting is None
    assert result.costs.train_seconds is None and result.masks is None and result.embeddings == ()


def matrix(*rows: list[float | None]) -> dict[str, Any]:
    return {**SMALLEST, "scenarios": {"task": {"matrix": rows}}}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"benchmark": "b', "result.json is not JSON (cut short?): Unterminated string"),
        ("[" * 100_000, "result.json is not JSON (cut short?): maximum recursion depth"),
        ("[]", "result.json holds a list, expected an object"),
        ({}, "result.json: benchmark: Field required (and 2 more)"),
        ({**SMALLEST, "format": 2}, "result.json has format 2 and this version reads format 1"),
        ({**SMALLEST, "seed": "0"}, "result.json: seed: Input should be a valid integer"),
        (
            matrix([0.5, 1.5]),
            "result.json: scenarios.task.matrix.0.1: Input should be less than or equal to 1",
        ),
        (
            matrix([1.0], [1.0, 0.5]),
            "scenarios.task: the rows of matrix have 1 to 2 entries, expected one width",
        ),
        (matrix([]), "scenarios.task: the rows of matrix have 0 to 0 entries"),
        (
            json.dumps(matrix([0.5])).replace("0.5", "NaN"),
            "scenarios.task.matrix.0.0: Input should be a finite",
        ),
        ({**SMALLEST, "costs": {"steps": -1}}, "costs.steps: Input should be greater than or equal to 0"),
        ({**SMALLEST, "costs": {"steps": 10**400}}, "costs.steps: Input should be"),
        ({**SMALLEST, "embeddings": [[1.0], [1.0, 2.0]]}, "the rows of embeddings have 1 to 2 entries"),
        ('{"benchmark": "\\ud800", "approach": "a", "seed": 0}', "Invalid JSON"),
        (
            {**SMALLEST, "masks": {"sparsity": {"w": [0.1], "b": []}}},
            "the rows of sparsity have 0 to 1 entries",
        ),
    ],
)
def test_damage_is_named(path: Path, value: Any, reason: str) -> None:
    with pytest.raises(Damaged) as caught:
        read(path, value)
    assert reason in str(caught.value)


def test_rounding_beyond_one_is_no_damage(path: Path) -> None:
    assert read(path, matrix([1.0000000000000002])).scenarios["task"].matrix == ((1.0000000000000002,),)


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Damaged, match="result.json is not there"):
        read_record(tmp_path / "result.json", Result)
    (tmp_path / "result.json").mkdir()
    with pytest.raises(Damaged, match="result.json is not there"):
        read_record(tmp_path / "result.json", Result)
    (tmp_path / "latin.json").write_bytes(b'{"benchmark": "caf\xe9"}')
    with pytest.raises(Damaged, match="latin.json is not UTF-8 text: invalid continuation byte at byte 18"):
        read_record(tmp_path / "latin.json", Result)
    monkeypatch.setattr(records, "LARGEST_FILE", 10)
    with pytest.raises(Damaged, match="latin.json has 21 bytes, expected at most 10"):
        read_record(tmp_path / "latin.json", Result)
