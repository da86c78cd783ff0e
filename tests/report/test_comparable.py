"""Which rows can be compared, and what is said where they cannot."""

from typing import Any

from hypermnesia import report
from hypermnesia.report.summary import Summary, summarise
from hypermnesia.report.verdict import verdicts


def config(**train: Any) -> str:
    net = train.pop("net", "mlp")
    settings = "".join(f"{key} = {value!r}\n" for key, value in ({"batch_size": 32} | train).items())
    return f'[net]\nname = "{net}"\n[train]\n{settings}'


def add(
    runs: Any, approach: str, values: list[float], config: str, scenario: str = "class", **more: Any
) -> None:
    for seed, value in enumerate(values):
        scenarios = {scenario: {"matrix": [[value]], "average_accuracy": value, "forgetting": 0.1}}
        runs.seed(approach, runs.result(approach, seed, scenarios=scenarios, **more), config)


def summary(runs: Any) -> Summary:
    return summarise(report.load([runs.root]).benchmarks[0])


def test_rows_of_one_budget_network_and_stream_have_no_letters(runs: Any) -> None:
    for approach, value in (("er", 0.8), ("hnet", 0.9)):
        add(runs, approach, [value], config(iterations=300, clip=value))
    found = summary(runs)
    assert [row.set for row in found.rows] == ["", ""] and found.differing == ()


def test_best_only_among_comparable_rows(runs: Any) -> None:
    for approach, value, epochs in (("er", 0.8, 1), ("hnet", 0.9, 10), ("der", 0.7, 1), ("ewc", 0.6, 1)):
        add(runs, approach, [value, value + 0.01], config(epochs=epochs))
    add(runs, "finetune", [0.2], config(epochs=1))
    found = summary(runs)
    assert [(row.group.label, row.set) for row in found.rows] == [
        ("hnet", "A"),
        ("er", "B"),
        ("der", "B"),
        ("ewc", "B"),
        ("finetune", "B"),
    ]
    winning = [row.group.label for row in found.rows if found.wins(row, "class.average_accuracy")]
    assert winning == ["er"] == [row.group.label for row in found.rows if row.is_best]
    assert [str(one) for one in found.differing] == ["budget: train.epochs is 10 in A and 1 in B"]
    der = found.rows[2].difference
    assert der is not None and round(der["mean"] or 0, 6) == -0.1, "to the best of its own set"


def test_another_network_is_told_by_its_name_alone(runs: Any) -> None:
    add(runs, "er", [0.8], config(iterations=3) + "[evaluate]\nsamples = 100\n")
    add(runs, "hnet", [0.9], config(iterations=3, net="lenet") + "[evaluate]\nsamples = 50\n")
    assert [str(one) for one in summary(runs).differing] == [
        "network: net.name is lenet in A and mlp in B",
        "evaluation: evaluate.samples is 50 in A and 100 in B",
    ]


def test_seeds_that_were_given_other_data(runs: Any) -> None:
    for approach, stream in (("er", "a"), ("hnet", "b"), ("joint", "c")):
        add(runs, approach, [0.8], config(iterations=3), stream_sha256=stream)
    found = summary(runs)
    assert sorted((row.group.label, row.set) for row in found.rows) == [
        ("er", "A"),
        ("hnet", "B"),
        ("joint", "A"),
    ]
    assert "the stream of equal seeds" in str(found.differing[0])


def test_the_verdict_in_a_sentence(runs: Any) -> None:
    add(runs, "hnet", [0.90, 0.91, 0.92], config(iterations=3))
    add(runs, "er", [0.70, 0.71, 0.73], config(iterations=3))
    add(runs, "finetune", [0.2], config(iterations=3))
    [(scenario, told)] = verdicts(summary(runs))
    assert scenario == "class-incremental"
    assert told == (
        "hnet is the most accurate with 91.00 ± 2.48 %, above er by 19.67 ± 1.43 points over 3 seeds; "
        "finetune (lower bound) 20.00 %."
    )


def test_verdicts_where_nothing_is_decided(runs: Any) -> None:
    add(runs, "hnet", [0.90, 0.70, 0.92], config(iterations=3))
    add(runs, "er", [0.70, 0.91, 0.73], config(iterations=3))
    [(_, told)] = verdicts(summary(runs))
    assert (
        "hnet (84.00 ± 30.22 %) and er (78.00 ± 28.21 %) are not told apart: 6.00 ± 58.10 points over 3 seeds"
        in told
    )


def test_verdicts_of_one_seed_of_ties_and_of_sets(runs: Any) -> None:
    add(runs, "hnet", [0.9], config(iterations=3))
    add(runs, "er", [0.8], config(iterations=3))
    assert verdicts(summary(runs))[0][1] == (
        "hnet is the most accurate with 90.00 %, 10.00 points above er (one seed each: a hint)."
    )
    add(runs, "der", [0.9], config(iterations=3))
    assert verdicts(summary(runs))[0][1] == "der, hnet share the highest accuracy, 90.00 %."
    add(runs, "ewc", [0.99], config(epochs=7))
    assert verdicts(summary(runs))[0][1] == (
        "Not comparable as a whole: in A, ewc reaches 99.00 %; in B, der, hnet share the highest accuracy, 90.00 %."
    )


def test_tables_for_papers_say_it_too(runs: Any) -> None:
    add(runs, "er", [0.8], config(epochs=1))
    add(runs, "hnet", [0.9], config(epochs=2))
    made = report.render(report.load([runs.root]), "md")
    assert "| hnet | A | 1 | 90.00 |" in made and "**" not in made
    assert r"Only rows of one set can be compared. budget: train.epochs is 2 in A and 1 in B." in made
