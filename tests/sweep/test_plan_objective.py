import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.sweep.plan import FIGURES, choose


def test_the_hardest_scenario_is_the_default():
    assert choose(None, ("task", "class", "domain")).path == "validation.scenarios.class.average_accuracy"
    assert choose(None, ("task", "domain")).scenario == "domain"
    assert choose(None, ("task",)).scenario == "task"


def test_forgetting_alone_is_made_smaller():
    found = {figure: choose(f"validation.scenarios.task.{figure}", ("task",)).maximise for figure in FIGURES}
    assert [figure for figure, maximise in found.items() if not maximise] == ["forgetting"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "scenarios.task.average_accuracy",
            "is a test figure, which no search may see; write validation.scena",
        ),
        (
            "accuracy",
            "expected validation.scenarios.SCENARIO.FIGURE, for example validation.scenarios.class.",
        ),
        ("validation.scenarios.task", "expected validation.scenarios.SCENARIO.FIGURE"),
        (
            "validation.scenarios.class.forgetting",
            "unknown scenario of this stream and head 'class'; known: ta",
        ),
        ("validation.scenarios.task.acuracy", "unknown figure 'acuracy'"),
        ("validation.scenarios.task.forward_transfer", "unknown figure 'forward_transfer'"),
    ],
)
def test_other_objectives_are_refused(path, said):
    with pytest.raises(HypermnesiaError) as error:
        choose(path, ("task",))
    assert said in str(error.value)
