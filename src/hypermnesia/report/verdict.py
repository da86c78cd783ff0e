"""What a comparison found, in one sentence for each scenario."""

from collections.abc import Sequence

from hypermnesia.core import units
from hypermnesia.report.summary import SCENARIO_NAMES, Row, Summary, difference

_CHANCE = 0.05  # a difference with a larger p-value is not told apart from chance
_MOST_SETS = 3


def verdicts(summary: Summary) -> list[tuple[str, str]]:
    """(scenario in words, sentence) of every scenario that a competing approach was measured in, the primary one first."""
    told = [(SCENARIO_NAMES.get(name, name), _sentence(summary, name)) for name in summary.scenarios]
    return [(name, sentence) for name, sentence in told if sentence]


def _sentence(summary: Summary, scenario: str) -> str:
    key = f"{scenario}.average_accuracy"
    known = [row for row in summary.rows if row.statistics[key]["mean"] is not None]
    known.sort(key=lambda row: row.statistics[key]["mean"] or 0.0, reverse=True)
    rivals = [row for row in known if row.bound is None]
    if not rivals:
        return ""
    word = summary.worded("accuracy")
    frame = " and ".join(
        f"{row.group.label} ({row.bound}) {_percent(row, key)}" for row in known if row.bound
    )
    ending = f"; {frame}." if frame else "."
    letters = list(dict.fromkeys(row.set for row in rivals))
    if len(letters) == 1:
        return f"{_best_of(rivals, scenario, word)}{ending}"
    parts = [
        f"in {letter}, {_best_of([r for r in rivals if r.set == letter], scenario, word)}"
        for letter in letters
    ]
    others = len(letters) - _MOST_SETS
    more = f"; and {others} more set{'s' if others > 1 else ''}" if others > 0 else ""
    return f"Not comparable as a whole: {'; '.join(parts[:_MOST_SETS])}{more}{ending}"


def _best_of(rivals: Sequence[Row], scenario: str, word: str) -> str:
    """What the first of `rivals`, which are sorted, is beside the second."""
    key, (best, *others) = f"{scenario}.average_accuracy", rivals
    if not others:
        return f"{best.group.label} reaches {_percent(best, key)}"
    second, shown = others[0], _percent(best, key)
    if [_percent(row, key) for row in others[:1]] == [shown]:
        level = [row.group.label for row in rivals if _percent(row, key) == shown]
        more = f" and {len(level) - 3} more" if len(level) > 4 else ""
        names = level if len(level) <= 4 else level[:3]
        return f"{', '.join(names)}{more} share the highest {word}, {shown}"
    found = difference(best.group, second.group, scenario)
    reached = f"{best.group.label} is the most accurate with {shown}"
    if found is None or found["mean"] is None:
        gap = (best.statistics[key]["mean"] or 0.0) - (second.statistics[key]["mean"] or 0.0)
        hint = "one seed each: a hint" if _seeds(best, second) else "over unpaired seeds"
        return f"{reached}, {units.percent(gap)} points above {second.group.label} ({hint})"
    points = f"{units.interval(found['mean'], found['ci95'])} points over {found['n']} seeds"
    if found["p"] is not None and found["p"] > _CHANCE:
        return (
            f"{best.group.label} ({shown}) and {second.group.label} ({_percent(second, key)}) "
            f"are not told apart: {points}"
        )
    return f"{reached}, above {second.group.label} by {points}"


def _seeds(*rows: Row) -> bool:
    return all(len(row.group.seeds) == 1 for row in rows)


def _percent(row: Row, key: str) -> str:
    found = row.statistics[key]
    return f"{units.interval(found['mean'], found['ci95'])} %"
