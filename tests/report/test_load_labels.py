from hypermnesia.core.secrets import flatten, redact
from hypermnesia.report.load import labels


def test_an_approach_that_occurs_once_keeps_its_name() -> None:
    assert labels(["er", "hnet"], [{"lr": "1"}, {"lr": "2"}]) == ["er", "hnet"]


def test_variants_show_the_settings_in_which_they_differ() -> None:
    common = {"train.lr": "0.1", "seed": "0"}
    variants = [{**common, "phn.cut": cut, "seed": seed} for seed, cut in enumerate(("layer1", "layer2"))]
    assert labels(["phn", "er", "phn"], [variants[0], common, variants[1]]) == [
        "phn (cut=layer1)",
        "er",
        "phn (cut=layer2)",
    ]


def test_equal_last_names_are_written_in_full() -> None:
    assert labels(["a", "a"], [{"drift.beta": "1", "anchor.beta": "2"}, {"drift.beta": "2"}]) == [
        "a (drift.beta=1, anchor.beta=2)",
        "a (drift.beta=2, anchor.beta=absent)",
    ]


def test_many_or_long_differences_are_cut_and_numbered() -> None:
    one = {"a": "1", "b": "1", "c": "1", "d": "1"}
    two = {"a": "2", "b": "2", "c": "2", "d": "2"}
    assert labels(["x"] * 3, [one, two, {**two, "d": "3"}]) == [
        "x (a=1, b=1, c=1, …)",
        "x (a=2, b=2, c=2, …) #1",
        "x (a=2, b=2, c=2, …) #2",
    ]
    assert labels(["x", "x"], [{"net": "n" * 99}, {"net": "m"}]) == [f"x (net={'n' * 23}…)", "x (net=m)"]


def test_without_a_configuration_variants_are_numbered() -> None:
    assert labels(["x", "x"], [{}, {}]) == ["x #1", "x #2"]


def test_flatten() -> None:
    tree = {"seed": 0, "train": {"lr": 0.1, "net": {"hidden": [100, 100], "bias": True}}, "none": None}
    assert flatten(tree) == {
        "seed": "0",
        "train.lr": "0.1",
        "train.net.hidden": "[100, 100]",
        "train.net.bias": "true",
        "none": "null",
    }


def test_secrets_are_hidden() -> None:
    text = 'lr = 0.1\napi_key = "abc"\n[track]\nwandb_token="t0k"\n"password" = "p"\nurl = "pg://me:word@host/db"\n'
    shown = redact(text)
    assert "lr = 0.1" in shown and "host/db" in shown
    assert not any(secret in shown for secret in ("abc", "t0k", '"p"', "me:word"))
    flat = flatten({"track": {"API_KEY": "abc", "url": "pg://me:word@host"}})
    assert flat == {"track.API_KEY": "(hidden)", "track.url": "pg://(hidden)@host"}


def test_a_choice_stands_for_all_that_it_brings():
    plain = {"weights.kind": "plain", "optimizer.name": "sgd", "optimizer.lr": "0.03"}
    masks = {
        "weights.kind": "mask",
        "optimizer.name": "adam",
        "optimizer.lr": "0.001",
        "weights.mask.sparsity": "30",
    }
    assert labels(["er", "er"], [plain, masks]) == ["er (weights=plain)", "er (weights=mask)"]
    assert labels(["er"] * 3, [plain, masks, masks | {"weights.mask.sparsity": "0"}])[2].startswith(
        "er (weights=mask, "
    )
