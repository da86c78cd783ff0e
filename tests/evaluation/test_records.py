"""What a run has measured."""

from hypermnesia.evaluation.records import Records


def test_rows_of_tasks_that_were_not_evaluated_are_empty() -> None:
    records = Records()
    records.add(2, {"task": [0.5, 0.25, 1.0]})
    records.add(3, {"task": [0.1, 0.2, 0.3], "class": [0.0, None, None]})
    absent = [None] * 3
    assert records.rows["task"] == [absent, absent, [0.5, 0.25, 1.0], [0.1, 0.2, 0.3]]
    assert records.rows["class"] == [absent, absent, absent, [0.0, None, None]]
    assert records.validation == {}


def test_validation_is_kept_apart() -> None:
    records = Records()
    records.add(0, {"task": [0.5]}, validation=True)
    assert (records.rows, records.validation) == ({}, {"task": [[0.5]]})


def test_evaluations_on_the_way_keep_their_place() -> None:
    records = Records()
    records.add_on_the_way(0, 10, {"task": [0.5]})
    records.add_on_the_way(1, 20, {"task": [0.75]})
    assert records.anytime == {"task": [[0, 10, [0.5]], [1, 20, [0.75]]]}
