import pytest

from hypermnesia.core.errors import HypermnesiaError, RunFailed, unknown


def test_unknown_suggests_the_nearest_name_and_lists_all():
    error = unknown("benchmark", "split-mnst", ["split-mnist", "permuted-mnist"])
    expected = (
        "unknown benchmark 'split-mnst'; did you mean 'split-mnist'? known: permuted-mnist, split-mnist"
    )
    assert str(error) == expected


def test_unknown_without_a_near_name_only_lists():
    assert str(unknown("net", "zzz", ["mlp", "lenet"])) == "unknown net 'zzz'; known: lenet, mlp"


def test_unknown_with_nothing_to_choose_from_says_so():
    assert str(unknown("net", "mlp", [])) == "unknown net 'mlp'; known: none"


def test_the_suggestion_ignores_case_and_keeps_the_known_spelling():
    assert "did you mean 'HN-F'?" in str(unknown("cut", "hn-f", ["HN-F", "layer4"]))


def test_of_very_many_names_only_those_like_it_are_listed():
    names = [f"split-mnist-{a}-{b}" for a in ("er", "der", "hnet") for b in range(40)]
    text = str(unknown("recipe", "split-mnist-er", names))
    assert (
        text.startswith("unknown recipe 'split-mnist-er'; did you mean 'split-mnist-er-") and len(text) < 300
    )
    assert text.endswith(" and 112 more") and text.count("split-mnist-") == 10


@pytest.mark.parametrize(("kind", "code"), [(HypermnesiaError, 2), (RunFailed, 3)])
def test_exit_codes(kind: type[HypermnesiaError], code: int):
    assert kind("text").exit_code == code
    assert issubclass(kind, HypermnesiaError)
