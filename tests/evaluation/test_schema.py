import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from hypermnesia.evaluation import schema as records
from hypermnesia.evaluation.figures import ANYTIME, COSTS, ERROR, METRICS, RETURNING
from hypermnesia.evaluation.metrics import anytime, summarise
from hypermnesia.evaluation.schema import (
    Anytime,
    Costs,
    Damaged,
    Result,
    Scenario,
    read_plain,
    read_record,
    write_record,
)

SMALLEST: dict[str, Any] = {
    "format": 1,
    "benchmark": "b",
    "approach": "a",
    "seed": 0,
    "config_sha256": "c",
    "stream_sha256": "s",
    "scenarios": {},
    "costs": {},
    "class_names": [],
    "task_names": [],
}


def read(path: Path, value: Any) -> Result:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return read_record(path, Result)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "result.json"


def test_what_does_not_apply_may_be_absent_and_unknown_keys_are_ignored(path: Path) -> None:
    result = read(path, {**matrix([1, None]), "of_a_later_day": 1})
    assert result.scenarios["task"].matrix == ((1.0, None),)
    assert result.scenarios["task"].forgetting is None
    assert result.costs.train_seconds is None and result.masks is None and result.embeddings == ()


def matrix(*rows: list[float | None]) -> dict[str, Any]:
    figures = dict.fromkeys(figure.name for figure in METRICS)
    return {**SMALLEST, "scenarios": {"task": {"matrix": rows, **figures}}}


def test_every_key_that_all_runs_have_has_to_be_there(path: Path) -> None:
    for key in SMALLEST:
        with pytest.raises(Damaged, match=f"result.json: {key}: Field required"):
            read(path, {name: value for name, value in SMALLEST.items() if name != key})


def test_the_tables_of_figures_and_the_schema_name_the_same() -> None:
    metrics = set(summarise([[1.0]])) - {"matrix"}
    optional = {"matrix", "error_matrix", ERROR.name, *(figure.name for figure in RETURNING)}
    assert {figure.name for figure in METRICS} == metrics == set(Scenario.model_fields) - optional
    assert {figure.name for figure in ANYTIME} == set(Anytime.model_fields) == set(anytime([], []))
    assert {figure.name for figure in COSTS} == set(Costs.model_fields)


def test_what_nobody_could_read_is_not_written(path: Path) -> None:
    write_record(path, Result, SMALLEST)
    assert read_plain(path, Result) == SMALLEST
    with pytest.raises(ValidationError):
        write_record(path, Result, SMALLEST | {"seed": "0"})
    assert read_plain(path, Result) == SMALLEST


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ('{"benchmark": "b', "result.json is not JSON (cut short?): Unterminated string"),
        ("[" * 100_000, "result.json is not JSON (cut short?): maximum recursion depth"),
        ("[]", "result.json holds a list, expected an object"),
        ({}, "result.json: format: Field required (and 9 more)"),
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
            "result.json is not JSON (cut short?): NaN is no finite number",
        ),
        (json.dumps(matrix([0.5])).replace("0.5", "1e999"), "1e999 is no finite number"),
        (
            json.dumps({**SMALLEST, "search": 0.5}).replace("0.5", "-Infinity"),
            "-Infinity is no finite number",
        ),
        ({**SMALLEST, "costs": {"steps": -1}}, "costs.steps: Input should be greater than or equal to 0"),
        ({**SMALLEST, "costs": {"steps": 10**400}}, "a number of 401 digits"),
        ({**SMALLEST, "costs": {"steps": 10**99 * 11}}, "costs.steps: Input should be"),
        ({**SMALLEST, "embeddings": [[1.0], [1.0, 2.0]]}, "the rows of embeddings have 1 to 2 entries"),
        ({**SMALLEST, "benchmark": "\ud800"}, "Invalid JSON"),
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


def test_only_where_numbers_are_learned_may_figures_be_below_0() -> None:
    """R² has no least value."""
    told = matrix([-7.5])
    told["scenarios"]["task"]["average_accuracy"] = -7.5
    assert Result.model_validate_json(json.dumps({**told, "target": "price"})).target == "price"
    with pytest.raises(ValidationError, match=r"average_accuracy has -7\.5, expected 0 to 1"):
        Result.model_validate_json(json.dumps(told))
