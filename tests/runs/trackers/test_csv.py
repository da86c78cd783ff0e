"""events.csv."""

import csv

from runs.trackers.tracked import expected, interrupted, run, timeless

from hypermnesia.runs.trackers.csv import COLUMNS


def rows(seed) -> list[tuple[str, int, float]]:
    with open(seed / "events.csv", newline="") as file:
        reader = csv.DictReader(file)
        assert reader.fieldnames == list(COLUMNS)
        return [(row["name"], int(row["total_steps"]), float(row["value"])) for row in reader]


def test_it_says_what_the_log_says(tmp_path):
    seed = run(tmp_path, "csv")
    assert rows(seed) == expected(seed)
    names = {name for name, *_ in rows(seed)}
    assert {"loss", "accuracy/task/5", "accuracy/class", "train_seconds"} <= names


def test_a_resumed_run_tells_its_story_once(tmp_path):
    interrupted(tmp_path / "a", "csv")
    seed = run(tmp_path / "a", "csv")
    assert rows(seed) == expected(seed)
    assert timeless(rows(seed)) == timeless(rows(run(tmp_path / "b", "csv")))


def test_tracking_can_begin_when_a_run_is_resumed(tmp_path):
    interrupted(tmp_path)
    seed = run(tmp_path, "csv")
    assert rows(seed) == expected(seed)
