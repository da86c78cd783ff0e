"""The configuration of a run: how it is found, written down, identified and built."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import small
import torch

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments import recipes
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.build import assemble, build, build_method
from hypermnesia.experiments.recipes import Recipe
from hypermnesia.experiments.resolve import chosen, from_toml, resolve, takes
from hypermnesia.methods.combine import Combined
from hypermnesia.weights.options import Mask

BASE = {
    "net.name": "mlp",
    "net.hidden": [100],
    "optimizer.lr": 0.5,
    "train.epochs": 1,
    "train.batch_size": 10,
}


@pytest.fixture
def layers(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """A benchmark with base settings, and published ones for hnet and, by memory size, for er."""
    published = [
        Recipe(
            name="digits-hnet",
            benchmark="split-digits",
            approach="hnet",
            source="a paper",
            default=True,
            settings={
                "net.hidden": [40],
                "weights.head": "sliced",
                "generator.name": "chunked",
                "generator.chunk": 99,
                "drift.beta": 0.25,
                "train.iterations": 7,
            },
        ),
        *(
            Recipe(
                name=f"digits-er-{size}",
                benchmark="split-digits",
                approach="er",
                source="a paper",
                default=True,
                memory=size,
                settings={"optimizer.lr": lr, "memory.size": size},
            )
            for size, lr in ((200, 0.1), (5000, 0.2))
        ),
    ]
    monkeypatch.setattr(recipes, "all_recipes", lambda: {r.name: r for r in published})
    monkeypatch.setattr(recipes, "base_settings", lambda: {"default": BASE, "split-digits": BASE})
    return BASE


def settings(approach: str, *words: str, **options: Any) -> dict[str, Any]:
    return recipes.flatten(resolve("split-digits", approach, words, **options).tree())


# ------------------------------------------------------------------------------------------------------------ layers


def test_layers_from_the_benchmark_to_the_users_words(layers: Any) -> None:
    plain = settings("finetune")
    assert (plain["net.hidden"], plain["train.epochs"], plain["optimizer.lr"]) == ([100], 1.0, 0.5)
    published = settings("hnet")
    assert (published["net.hidden"], published["drift.beta"]) == ([40], 0.25)
    assert (published["weights.kind"], published["weights.head"]) == ("hyper", "sliced")
    assert (published["train.iterations"], published["train.epochs"]) == (7, None)
    file = settings("hnet", extra={"drift.beta": 0.5, "generator.chunk": 11})
    assert (file["drift.beta"], file["weights.generator.chunk"], file["net.hidden"]) == (0.5, 11, [40])
    words = settings("hnet", "drift.beta=1", extra={"drift.beta": 0.5, "generator.chunk": 11})
    assert (words["drift.beta"], words["weights.generator.chunk"]) == (1.0, 11)


def test_the_approach_settles_the_weights(layers: Any) -> None:
    assert settings("separate")["weights.per_task"] == ["*"]
    assert settings("phn")["drift.look_ahead"] == "sgd"
    assert settings("phn")["weights.embedding_init"] == "random"
    assert settings("phn", "drift.look_ahead=none")["drift.look_ahead"] is None


def test_another_part_drops_what_was_published_for_the_former(layers: Any) -> None:
    dense = settings("hnet", "generator=dense")
    assert dense["weights.generator.name"] == "dense" and "weights.generator.chunk" not in dense
    assert dense["weights.head"] == "sliced"
    masked = settings("hnet", "weights=mask")
    assert (masked["weights.head"], masked["weights.generator.name"]) == ("auto", Mask.writer)
    assert masked["drift.beta"] == 0.01
    assert "net.hidden" not in settings("finetune", "net=lenet")
    plain = settings("hnet", "weights=plain")
    assert not any(key.startswith(("weights.generator.", "drift.", "infer.")) for key in plain)


def test_the_length_is_given_in_one_way(layers: Any) -> None:
    for words, expected in (
        (["train.iterations=5"], (5, None)),
        (["iterations=5"], (5, None)),
        (["epochs=2"], (None, 2.0)),
        (["train.epochs=2", "train.iterations=none"], (None, 2.0)),
    ):
        for approach in ("finetune", "hnet"):
            found = settings(approach, *words)
            assert (found["train.iterations"], found["train.epochs"]) == expected
    with pytest.raises(HypermnesiaError, match="give either train.iterations or train.epochs, not both"):
        settings("finetune", "epochs=2", "iterations=5")


def test_published_settings_by_the_size_of_the_memory(layers: Any) -> None:
    for words, lr, size in (
        ([], 0.1, 200),
        (["memory.size=200"], 0.1, 200),
        (["memory.size=5000"], 0.2, 5000),
        (["method.memory.size=5000"], 0.2, 5000),
        (["memory.size=3000"], 0.2, 3000),
        (["memory.size=10"], 0.1, 10),
    ):
        found = settings("er", *words)
        assert (found["optimizer.lr"], found["method.memory.size"]) == (lr, size), words
    note = "no published settings for memory.size=3000; using those for 5000 (digits-er-5000)"
    assert resolve("split-digits", "er", ["memory.size=3000"]).notes == (note,)
    assert resolve("split-digits", "er").notes == ()


def test_a_recipe_may_be_asked_for_by_name(layers: Any) -> None:
    recipe = recipes.all_recipes()["digits-er-5000"]
    found = resolve("split-digits", "er", ["memory.size=7"], recipe=recipe)
    assert found.sections["optimizer"].lr == 0.2
    assert found.sections["method"].memory.size == 7


# --------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("approach", "word", "key", "value"),
    [
        ("hnet", "beta=0.5", "drift.beta", 0.5),
        ("hnet", "chunk=9", "weights.generator.chunk", 9),
        ("hnet", "weights.chunk=9", "weights.generator.chunk", 9),
        ("hnet", "head=shared", "weights.head", "shared"),
        ("hnet", "net.hidden=[8,8]", "net.hidden", [8, 8]),
        ("er", "memory.size=9", "method.memory.size", 9),
        ("er", "lr=0.5", "optimizer.lr", 0.5),
        ("finetune", "weights=hyper", "weights.generator.name", "chunked"),
        ("finetune", "kind=hyper", "weights.generator.name", "chunked"),
        ("finetune", "weights.kind=hyper", "drift.beta", 0.01),
        ("finetune", "weights=mask", "anchor.strength", 1e-3),
        ("finetune", "per_task=[head]", "infer.name", "entropy"),
        ("finetune", "weights.generated=[head]", "weights.generator.name", "chunked"),
        ("finetune", "generated=[head]", "drift.beta", 0.01),
        ("finetune", "weights.masked=[head]", "weights.mask.sparsity", 0.0),
        ("finetune", "head=per_task", "infer.name", "entropy"),
        ("phn", "tail=stored", "weights.tail", "stored"),
        ("finetune", "net=python:my.nets:factory", "net.name", "python:my.nets:factory"),
    ],
)
def test_words(approach: str, word: str, key: str, value: Any) -> None:
    assert settings(approach, word)[key] == value


@pytest.mark.parametrize(
    ("approach", "words", "gone"),
    [
        ("hnet", ["drift=none"], "drift."),
        ("hypermask", ["anchor=none"], "anchor."),
        ("phn", ["tail=stored"], "weights.generator."),
        ("hnet", ["weights=plain"], "infer."),
    ],
)
def test_parts_that_are_left_out(approach: str, words: list[str], gone: str) -> None:
    assert any(key.startswith(gone) for key in settings(approach))
    assert not any(key.startswith(gone) for key in settings(approach, *words))


@pytest.mark.parametrize(
    ("benchmark", "approach", "words", "text"),
    [
        ("split-digit", "er", [], "unknown benchmark 'split-digit'; did you mean 'split-digits'?"),
        ("split-digits", "hnett", [], "unknown approach 'hnett'; did you mean 'hnet'?"),
        ("split-digits", "er", ["net=lenett"], "unknown net 'lenett'; did you mean 'lenet'?"),
        (
            "split-digits",
            "er",
            ["net=mine"],
            "lenet, mlp, pretrained, pretrained-1, pretrained-2, python:MODULE:FACTORY",
        ),
        ("split-digits", "mine", [], "phn, python:MODULE:CLASS, ranpac"),
        ("split-digits", "er", ["net=[mlp]"], "unknown net"),
        ("split-digits", "hnet", ["generator=desne"], "unknown generator 'desne'; did you mean 'dense'?"),
        ("split-digits", "hnet", ["infer=entropi"], "unknown inference 'entropi'; did you mean 'entropy'?"),
        ("split-digits", "er", ["weights=hiper"], "unknown weights.kind 'hiper'; did you mean 'hyper'?"),
        (
            "split-digits",
            "er",
            ["weights=[a]"],
            r"unknown weights.kind .*known: hyper, lora, mask, partial, plain",
        ),
        ("split-digits", "phn", ["tail=5"], r"weights.tail: expected generated \| stored, got integer 5"),
        ("split-digits", "er", ["net.hiden=[5]"], "unknown key 'net.hiden'; did you mean 'net.hidden'?"),
        (
            "split-digits",
            "er",
            ["hidden=5"],
            r"net.hidden: expected \[integer >= 1, ...\], got integer 5; write a list",
        ),
        ("split-digits", "er", ["size=5"], "key 'size' may mean method.memory.size or stream.size"),
        ("split-digits", "gdumb", ["epochs=5"], "key 'epochs' may mean method.epochs or train.epochs"),
        (
            "split-digits",
            "er",
            ["memory.size=5", "method.memory.size=6"],
            "method.memory.size is given twice",
        ),
        ("split-digits", "er", ["beta=0.1"], "unknown key 'beta'"),
        (
            "split-digits",
            "hnet",
            ["drift=0.1"],
            r"drift=0.1: only none can be said of the whole penalty; its options",
        ),
        ("split-digits", "hnet", ["drift=none", "drift.beta=1"], "unknown key 'drift.beta'"),
        ("split-digits", "er", ["generator=dense"], "generator.name=dense: er with these weights has none"),
        ("split-digits", "er", ["infer=fecam"], "infer=fecam guesses whose weights an input needs"),
        (
            "split-digits",
            "er",
            ["train.iterations=0"],
            "train.iterations: expected integer >= 1 . none, got integer 0",
        ),
        (
            "split-digits",
            "er",
            ["train.iterations=x"],
            r"train.iterations: expected integer >= 1 \| none, got text x",
        ),
        (
            "split-digits",
            "er",
            ["optimizer.lr=inf"],
            "optimizer.lr: expected number > 0, got number inf; it must be finite",
        ),
        ("split-digits", "hnet", ["drift.beta=-1"], "drift.beta: expected number >= 0, got integer -1"),
        ("split-digits", "er", ["iterations"], "'iterations' is no option; write options as key=value"),
        ("split-digits", "er", ["net=python:x:y", "net.hidden=[1]"], "unknown key 'net.hidden'"),
    ],
)
def test_bad_words(benchmark: str, approach: str, words: list[str], text: str) -> None:
    with pytest.raises(HypermnesiaError, match=text):
        resolve(benchmark, approach, words)


def test_settings_of_a_file_are_read_as_strictly() -> None:
    with pytest.raises(
        HypermnesiaError, match="generator.chunk=5: er with these weights has none; weights=hyper"
    ):
        resolve("split-digits", "er", extra={"generator.chunk": 5})
    with pytest.raises(HypermnesiaError, match="drift=0.5: only none can be said"):
        resolve("split-digits", "hnet", extra={"drift": 0.5})


def test_which_words_an_approach_has() -> None:
    words = ["beta=1", "memory.size=5", "lr=0.1", "nonsense=1", "generator=dense"]
    assert takes("split-digits", "hnet", words) == ["beta=1", "lr=0.1", "generator=dense"]
    assert takes("split-digits", "er", words) == ["memory.size=5", "lr=0.1"]
    assert takes("split-digits", "er", words, only=["optimizer"]) == ["lr=0.1"]


# ---------------------------------------------------------------------------------------------------------------- TOML

VARIED = ["optimizer.lr=0.125", "stream.samples_per_task=40", "evaluate.scenarios=[task]", "train.clip=1.5"]


@pytest.mark.parametrize("approach", APPROACHES)
@pytest.mark.parametrize("words", [[], VARIED], ids=["as it is", "varied"])
def test_a_written_configuration_is_the_same(approach: str, words: list[str]) -> None:
    for benchmark in ("split-digits", "split-mnist", "permuted-mnist-20", "folder:my/images"):
        cfg = resolve(benchmark, approach, words)
        again = from_toml(cfg.to_toml())
        assert again == cfg
        assert (again.sha256, again.to_toml()) == (cfg.sha256, cfg.to_toml())


@pytest.mark.parametrize("kind", ["plain", "hyper", "partial", "mask", "lora"])
@pytest.mark.parametrize("approach", ["er", "ewc"])
def test_any_method_on_any_weights_is_written_down(kind: str, approach: str) -> None:
    for words in ([], ["drift=none"], ["net=resnet18", "net.width=4"], ["infer=fecam"]):
        if kind == "plain" and words:
            continue
        cfg = resolve("split-cifar10", approach, [f"weights={kind}", *words])
        assert from_toml(cfg.to_toml()) == cfg


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "config.toml names no benchmark; it is no saved configuration"),
        ("benchmark = 'split-digits'", "config.toml names no approach"),
        ("benchmark = 3\napproach = 'er'", "config.toml names no benchmark"),
        ("benchmark = 'no'\napproach = 'er'", "unknown benchmark 'no'"),
        ("benchmark = 'split-digits'\napproach = 'no'", "unknown approach 'no'"),
        ("benchmark = 'split-digits'\napproach = 'er'\nfoo = 1", "unknown key 'foo'"),
        ("benchmark = 'split-digits'\napproach = 'er'\n[weights]\nkind = ['a']", "unknown weights.kind"),
        ("benchmark = 'split-digits'\napproach = 'er'\n[net]\nname = 3", "unknown net '3'"),
        ("benchmark = 'split-digits'\napproach = 'er'\nweights = 3", "unknown weights.kind '3'"),
        (
            "benchmark = 'split-digits'\napproach = 'er'\n[train]\nepochs = 'x'",
            "train.epochs: expected number",
        ),
        ("benchmark = [", "config.toml is not valid TOML"),
    ],
)
def test_files_that_are_no_configuration(text: str, said: str) -> None:
    with pytest.raises(HypermnesiaError, match=said):
        from_toml(text)


# ---------------------------------------------------------------------------------------------------------------- hash


@pytest.mark.parametrize(
    "word", ["seeds.init=3", "seeds.stream=4", "stream.seed=4", "train.threads=2", "checkpoint.every=5"]
)
def test_what_the_hash_leaves_out(word: str) -> None:
    assert resolve("split-digits", "hnet", [word]).sha256 == resolve("split-digits", "hnet").sha256


@pytest.mark.parametrize(
    "word",
    ["drift.beta=0.5", "net=lenet", "optimizer.lr=0.5", "evaluate.samples=5", "drift=none", "stream.tasks=3"],
)
def test_what_the_hash_covers(word: str) -> None:
    assert resolve("split-digits", "hnet", [word]).sha256 != resolve("split-digits", "hnet").sha256


def test_a_hash_says_what_not_how() -> None:
    plain = resolve("split-digits", "hnet")
    assert (
        resolve("split-digits", "hnet", [f"drift.beta={plain.sections['drift'].beta}"]).sha256 == plain.sha256
    )
    assert resolve("split-mnist", "hnet").sha256 != plain.sha256
    assert resolve("split-digits", "phn").sha256 != plain.sha256


# ------------------------------------------------------------------------------------------------------------ building

TINY = ["net.hidden=[8]", "stream.samples_per_task=40"]


def parameters(words: list[str], seed: int = 0, approach: str = "hnet") -> dict[str, torch.Tensor]:
    run = build(resolve("split-digits", approach, [*TINY, *words]), seed)
    run.learner.model.begin_task(run.rngs["init"])
    return run.learner.model.stored()


def test_penalties_join_the_method() -> None:
    found = build_method(resolve("split-digits", "hypermask"))
    assert isinstance(found, Combined)
    assert [penalty.name for penalty in found.penalties] == ["drift", "anchor"]
    assert not isinstance(build_method(resolve("split-digits", "hnet", ["drift=none"])), Combined)


def test_one_seed_sets_everything_and_each_source_can_be_set_alone() -> None:
    first = parameters([])
    assert all(torch.equal(value, parameters([])[name]) for name, value in first.items())
    other = parameters([], seed=1)
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    alone = parameters(["seeds.init=0"], seed=1)
    assert all(torch.equal(value, alone[name]) for name, value in first.items())
    streams = {
        seeds: build(
            resolve("split-digits", "er", [*TINY, "stream.order=seed", *seeds.split()]), seed
        ).stream.sha256
        for seed, seeds in ((0, ""), (0, "seeds.init=5"), (1, "seeds.stream=0"), (1, "seeds.method=1"))
    }
    assert streams[""] == streams["seeds.init=5"] == streams["seeds.stream=0"] != streams["seeds.method=1"]


def test_joint_training_joins_the_tasks() -> None:
    run = build(resolve("split-digits", "joint", TINY), 0)
    assert (len(run.stream.tasks), len(run.tested_on.tasks)) == (1, 5)
    assert run.learner.classes == (tuple(range(10)),)


def test_joint_training_takes_as_many_steps_as_its_rivals_in_all() -> None:
    steps = []
    for approach in ("finetune", "joint"):
        run = build(resolve("split-digits", approach, [*TINY, "iterations=2"]), 0)
        small.all_of([run])
        steps.append(run.records.steps)
    assert steps == [10, 10]


def test_a_stream_at_hand() -> None:
    stream = small.split_stream()
    run = assemble(
        resolve("split-digits", "er", ["net.hidden=[8]", "train.iterations=2", "memory.size=9"]), stream
    )
    small.all_of([run])
    assert len(run.records.rows["task"]) == 3


def test_generated_parts_by_pattern() -> None:
    run = build(
        resolve("split-digits", "finetune", [*TINY, "weights.generated=[head]", "train.iterations=2"]), 0
    )
    assert {run.learner.model.roles[f"head.{key}"] for key in ("weight", "bias")} == {"generated"}
    small.all_of([run])
    masked = build(
        resolve("split-digits", "finetune", [*TINY, "weights.masked=[head.weight]", "iterations=2"]), 0
    )
    assert masked.learner.model.roles["head.weight"] == "masked"
    small.all_of([masked])


def test_configurations_compare_by_what_they_say() -> None:
    cfg = resolve("split-digits", "hnet")
    assert replace(cfg, notes=("found somewhere",)) == cfg
    assert replace(cfg, benchmark="split-mnist") != cfg


@pytest.mark.parametrize(
    ("benchmark", "approach", "words", "optimizer"),
    [
        ("rotated-mnist", "er", [], ("sgd", 0.2)),
        ("rotated-mnist", "er", ["weights=hyper"], ("adam", 0.001)),
        ("rotated-mnist", "er", ["weights=hyper", "lr=0.1"], ("adam", 0.1)),
        ("rotated-mnist", "hnet", [], ("adam", 0.001)),
        ("split-mnist", "hypermask", [], ("adam", 0.001)),
    ],
)
def test_learning_rates_of_plain_weights_are_not_those_of_generators(benchmark, approach, words, optimizer):
    """SGD with 0.2, which trains the network of rotated MNIST, takes a hypernetwork to NaN in ten steps."""
    options = resolve(benchmark, approach, words).sections["optimizer"]
    assert (options.name, options.lr) == optimizer


def test_a_penalty_joins_any_method_by_a_word() -> None:
    cfg = resolve("split-digits", "er", ["ewc.strength=100", "weights=hyper"])
    found = build_method(cfg)
    assert isinstance(found, Combined) and type(found.method).__name__ == "ER"
    assert [penalty.name for penalty in found.penalties] == ["ewc", "drift"]
    assert cfg.sections["ewc"].strength == 100
    assert from_toml(cfg.to_toml()) == cfg
    with pytest.raises(HypermnesiaError, match="unknown key 'strength'"):
        resolve("split-digits", "er", ["strength=100"])


def test_a_folder_of_images_is_learned_by_convolutions_and_that_is_said(tmp_path) -> None:
    (tmp_path / "cat").mkdir()
    benchmark = f"folder:{tmp_path}"
    assert chosen(resolve(benchmark, "er").sections)["net.name"] == "mlp", "there is no image yet"
    (tmp_path / "cat" / "a.png").touch()
    found = resolve(benchmark, "er")
    assert chosen(found.sections)["net.name"] == "resnet" and found.sections["net"].depth == 20
    told = "the folder holds images: net=resnet is convolutional; stream.size=32 makes large images small"
    assert found.notes == (told,)
    asked = resolve(benchmark, "er", ["net=mlp", "net.hidden=[7]"])
    assert asked.notes == () and asked.sections["net"].hidden == (7,)
