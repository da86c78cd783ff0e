import io
from pathlib import Path

from rich.console import Console

from hypermnesia.commands.sweep_table import shown, table
from hypermnesia.evaluation.schema import Trial
from hypermnesia.sweep.record import SweepResult
from hypermnesia.sweep.space import parse_space

SPACE, _ = parse_space(["drift.beta=0,0.1", "net.hidden=[10],[20]"])


def trial(number: int, state: str = "complete", value: float | None = 0.5, reason=None) -> Trial:
    settings = {"drift.beta": 0.1, "net.hidden": [10]}
    told = {"number": number, "settings": settings, "value": value, "state": state, "reason": reason}
    return Trial.model_validate({**told, "seconds": None if state == "running" else 12.34})


def result(*trials: Trial, final=None) -> SweepResult:
    path = "validation.scenarios.task.average_accuracy"
    return SweepResult(Path("out"), "b", "a", path, True, SPACE, "validation", "grid", 9, trials, final)


def drawn(made: SweepResult, rows: int = 20) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    console.print(table(made, rows))
    return console.file.getvalue().splitlines()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_table_has_a_row_per_trial():
    lines = drawn(
        result(
            trial(0),
            trial(1, "failed", None, "the loss became nan at step 3 of task 1; " + "x" * 99),
            trial(2, "pruned", None, "behind"),
            trial(3, "running", None),
        )
    )
    text = "\n".join(lines)
    for words in (
        "trial",
        "drift.beta",
        "net.hidden",
        "average accuracy",
        "state",
        "seconds",
        "[10]",
        "0.5000",
    ):
        assert words in text
    assert "failed: the loss became nan at step 3 of task 1; xxx" in text and "…" in text
    assert "12.3" in text and "a on b" in text
    assert "3 of 9 trials, validation.scenarios.task.average_accuracy; best so far: trial 0" in text


def test_a_long_search_shows_its_best_and_its_latest_trials():
    trials = [trial(n, value=0.9 if n == 3 else 0.5) for n in range(50)]
    rows = [line.split()[1] for line in drawn(result(*trials), rows=5) if line.startswith("│")]
    assert rows == ["3", "46", "47", "48", "49"]


def test_lines_where_there_is_no_terminal():
    console = Console(file=io.StringIO(), width=40)
    with shown(console) as show:
        show(result(trial(0, "running", None)))
        show(result(trial(0), trial(1, "running", None)))
        show(result(trial(0), trial(1, "failed", None, "[no] luck")))
        show(result(trial(0), trial(1, "failed", None, "[no] luck"), final={"trial": 0, "seeds": [1, 2]}))
    assert console.file.getvalue().splitlines() == [  # pyright: ignore[reportAttributeAccessIssue]
        "trial 0: 0.5000  drift.beta=0.1 net.hidden=[10]  12.3 s",
        "trial 1: failed ([no] luck)  drift.beta=0.1 net.hidden=[10]  12.3 s",
        "trial 0 won; run on test with seeds 1, 2",
    ]


def test_a_live_table_in_a_terminal():
    console = Console(file=io.StringIO(), width=160, height=20, force_terminal=True)
    with shown(console) as show:
        show(result(trial(0, "running", None)))
        once = len(console.file.getvalue())  # pyright: ignore[reportAttributeAccessIssue]
        show(result(trial(0, "running", None)))
        assert len(console.file.getvalue()) == once, "nothing new, nothing drawn"  # pyright: ignore
        show(result(trial(0), final={"trial": 0, "seeds": [1]}))
    assert "trial 0 run on" in console.file.getvalue()  # pyright: ignore
