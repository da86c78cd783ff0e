"""The recipes as data: complete, consistent, and about runs that report what they compare with."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest
import torch

from hypermnesia.commands.arguments import parse_seeds
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Images, Source, Stream
from hypermnesia.data.benchmarks import BENCHMARKS, find_benchmark
from hypermnesia.data.sources.source import joined
from hypermnesia.evaluation import metrics
from hypermnesia.evaluation.evaluate import applicable
from hypermnesia.experiments import recipes
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.build import build_network
from hypermnesia.experiments.recipes import Recipe, all_recipes
from hypermnesia.experiments.resolve import Config, resolve, resolve_recipe
from hypermnesia.methods.learner import Learner
from hypermnesia.weights.model import Model

SHORTENED = ("train.iterations", "train.epochs", "method.epochs", "stream.samples_per_task")
"""What a short budget may change, beside any number of samples and what is evaluated."""
SHAPES = {
    "digits": (1, 8, 10),
    "mnist": (1, 28, 10),
    "fashion-mnist": (1, 28, 10),
    "cifar10": (3, 32, 10),
    "cifar100": (3, 32, 100),
    "tiny-imagenet": (3, 64, 200),
}
"""Channels, side and classes of the sources that benchmarks are made of."""


def each(found: Iterable[Recipe]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("recipe", list(found), ids=lambda recipe: recipe.name)


ALL = all_recipes().values()
resolved = cache(resolve_recipe)


def flat(config: Config) -> dict:
    return recipes.flatten(config.tree())


def arrived(key: str, values: dict) -> str:
    """The key that a setting has in the resolved tree: memories are the method's, generators and masks the weights'."""
    owners = {"memory": "method", "generator": "weights", "mask": "weights"}
    owner = owners.get(key.partition(".")[0])
    return f"{owner}.{key}" if f"{owner}.{key}" in values else key


@cache
def small_source(name: str, size: int | None) -> Source:
    """Black images in place of a known source: as many classes, six training samples and one test sample of each."""
    channels, side, classes = SHAPES[name]
    y = torch.arange(classes)

    def part(times: int) -> Images:
        shape = (times * classes, channels, size or side, size or side)
        return Images(torch.zeros(shape, dtype=torch.uint8), y.repeat(times))

    return Source(name, part(6), part(1), tuple(str(c) for c in range(classes)))


@cache
def stream_of(benchmark: str, tasks: int | None = None) -> Stream:
    """The benchmark over small sources: its own tasks, classes and shapes."""
    entry = find_benchmark(benchmark)
    parts = [small_source(name, entry.defaults.size) for name in entry.sources]
    source = parts[0] if len(parts) == 1 else joined(parts)
    preprocess = entry.normalisation.preprocess(source, "unit", None)
    options = entry.defaults if tasks is None else replace(entry.defaults, tasks=tasks)
    return entry.scenario.build(source, options, {"seed": 0, "preprocess": preprocess, "name": benchmark})


def model_of(recipe: Recipe) -> tuple[Model, Stream]:
    """The recipe's network, which takes no room for its numbers, and the stream that it trains on."""
    config = resolved(recipe.name)
    stream = stream_of(recipe.benchmark, recipe.settings.get("stream.tasks"))
    trained = stream.joined() if config.approach.joined else stream
    with torch.device("meta"):
        return build_network(config, trained, 0), trained


def learner_of(recipe: Recipe) -> Learner:
    model, trained = model_of(recipe)
    classes = tuple(task.classes for task in trained.tasks)
    return Learner({"main": model}, trained.preprocess, trained.shape, trained.num_classes, classes)


@each(ALL)
def test_every_setting_arrives(recipe: Recipe):
    assert recipe.benchmark in BENCHMARKS and recipe.approach in APPROACHES and recipe.source
    assert len(parse_seeds(recipe.seeds)) >= 3
    values = flat(resolved(recipe.name))
    for key, value in recipe.settings.items():
        # A section that the run does not have would be dropped in silence, as a base setting is.
        found = values[arrived(key, values)]
        assert found == (None if value == "none" else value), key


@each(ALL)
def test_a_recipe_is_complete(recipe: Recipe, monkeypatch: pytest.MonkeyPatch):
    """No base setting shines through: the recipe stays what it is when those of its benchmark change."""
    config = resolved(recipe.name)
    monkeypatch.setattr(recipes, "base_settings", lambda: {"default": {}})
    assert resolve_recipe(recipe.name).tree() == config.tree()


@each(ALL)
def test_the_short_budget_is_shorter_and_else_the_same(recipe: Recipe):
    full, short = flat(resolved(recipe.name)), flat(resolve_recipe(recipe.name, short=True))
    changed = {key for key in full | short if full.get(key) != short.get(key)}
    lengths = {key for key in changed if not key.startswith("evaluate.") and not key.endswith(".samples")}
    assert lengths and lengths <= set(SHORTENED)
    for key in lengths:
        assert full.get(key) is None or short.get(key) is None or short[key] < full[key], key


@each(recipe for recipe in ALL if recipe.published)
def test_published_figures_are_reported_by_the_run(recipe: Recipe):
    scenarios = applicable(learner_of(recipe), stream_of(recipe.benchmark))
    reported = metrics.summarise([[0.5]], [0.5], [[0]], [[0]])
    for figure in recipe.published:
        root, scenario, name = figure.metric.split(".")
        assert root == "scenarios" and scenario in scenarios and name in reported, figure.metric
        assert -1 < figure.value < 1 and 0 < figure.tolerance <= 0.05 and figure.where
        assert figure.std is None or 0 < figure.std < 0.05
    assert len({figure.metric for figure in recipe.published}) == len(recipe.published)


@each(recipe for recipe in ALL if recipe.search)
def test_search_grids_hold_values_that_resolve(recipe: Recipe):
    for key, values in recipe.search.items():
        assert key in recipe.settings and len(values) > 1
        for value in values:
            config = resolve(recipe.benchmark, recipe.approach, extra={key: value}, recipe=recipe)
            assert (found := flat(config))[arrived(key, found)] == value


def test_one_default_for_each_pair_and_what_it_depends_on():
    found = [r for r in all_recipes().values() if r.default]
    pairs = Counter((r.benchmark, r.approach, r.memory, r.tasks, r.net) for r in found)
    assert [pair for pair, count in pairs.items() if count > 1] == []


@each(recipe for recipe in ALL if recipe.default)
def test_a_default_is_what_the_approach_uses(recipe: Recipe):
    # Another split is another benchmark; another number of tasks has to be asked for.
    own = {key: value for key, value in recipe.settings.items() if key.startswith("stream.")}
    assert not own or own == {"stream.tasks": recipe.tasks}
    words = [f"{key}={value}" for key, value in own.items()]
    words += [] if recipe.memory is None else [f"memory.size={recipe.memory}"]
    words += [] if recipe.net is None else [f"net={recipe.net}"]
    config = resolve(recipe.benchmark, recipe.approach, words)
    assert config.notes == ()
    assert config.sha256 == resolved(recipe.name).sha256


def test_every_benchmark_has_base_settings():
    assert set(recipes.base_settings()) == {*BENCHMARKS, "default", "images"}
    for benchmark in BENCHMARKS:
        values = flat(resolve(benchmark, "separate"))  # which no recipe speaks of
        everywhere, hyper = recipes.for_hyper(recipes.base_settings()[benchmark])
        for key, value in everywhere.items():
            assert values[key] == value, (benchmark, key)
        values = flat(resolve(benchmark, "hnet")) if hyper else {}
        for key, value in hyper.items():
            assert values[f"weights.{key}"] == value, (benchmark, key)


def test_a_memory_size_between_the_published_ones_says_whose_settings_it_got():
    config = resolve("split-mnist", "er", ["memory.size=1000"])
    note = "no published settings for memory.size=1000; using those for 500 (split-mnist-er-500)"
    assert config.notes == (note,)
    assert (config.sections["optimizer"].lr, config.sections["method"].memory.size) == (0.1, 1000)


def test_an_approach_without_published_settings_says_so_where_others_have_theirs():
    none = "no published settings for lwf on permuted-mnist-20: its own defaults hold, and the benchmark's"
    assert resolve("permuted-mnist-20", "lwf").notes == (none,)
    assert resolve("split-digits", "lwf").notes == (), "nobody has published any there"


def test_without_a_memory_size_the_smallest_published_one():
    config = resolve("split-cifar10", "derpp")
    assert (config.sections["method"].memory.size, config.notes) == (200, ())


def test_another_network_gets_the_settings_published_for_it():
    def strength(*words: str) -> tuple[float, tuple[str, ...]]:
        config = resolve("split-cifar100", "hypermask", words)
        return config.sections["anchor"].strength, config.notes

    assert strength() == strength("net=resnet") == (1.0, ())
    assert strength("net=zenkenet") == (0.01, ())
    note = "no published settings for net=lenet; using those for resnet (split-cifar100-hypermask)"
    assert strength("net=lenet") == (1.0, (note,))
    found = resolve(
        "split-cifar10-100", "hnet", ["net=zenkenet"]
    )  # published without augmentation: no default
    assert found.notes[0].endswith("; recipes with zenkenet: split-cifar10-100-hnet-zenke")


@pytest.mark.parametrize("key", ["stream.tasks", "tasks"])
def test_another_number_of_tasks_gets_the_nearest_published_settings_and_says_so(key: str):
    def chunk(*words: str) -> tuple[int, int | None, tuple[str, ...]]:
        config = resolve("permuted-mnist", "hnet", words)
        return config.sections["weights"].generator.chunk, config.sections["stream"].tasks, config.notes

    assert chunk() == (78_000, None, ())
    assert chunk(f"{key}=10") == (78_000, 10, ())
    assert chunk(f"{key}=100") == (7_500, 100, ())
    assert chunk(f"{key}=250") == (12_000, 250, ())
    note = "no published settings for stream.tasks=20; using those for 10 (permuted-mnist-hnet)"
    assert chunk(f"{key}=20") == (78_000, 20, (note,))
    assert chunk(f"{key}=60")[0] == 7_500


def test_a_recipe_is_not_mixed_with_the_default_of_its_pair():
    """The ZenkeNet's says nothing of milestones, which the ResNet's has."""
    names = ("split-cifar10-100-hnet", "split-cifar10-100-hnet-zenke")
    found = [resolved(name).sections["optimizer"].milestones for name in names]
    assert found == [(0.4, 0.6, 0.8), ()]


def test_words_go_on_top_of_a_recipe():
    config = resolve_recipe("split-mnist-der-500", ["alpha=0.25"], short=True)
    assert (config.sections["method"].alpha, config.sections["train"].epochs) == (0.25, 0.25)


def test_penalties_are_in_our_units():
    """Published: EWC without a factor 1/2 (90 and 0.7), a drift beside the sum of a task's losses (100)."""
    strengths = [
        resolved(f"{b}-ewc").sections["method"].strength for b in ("split-mnist", "permuted-mnist-20")
    ]
    assert strengths == [180, 1.4]
    beta = resolved("permuted-mnist-hnet-pr").sections["drift"].beta
    assert beta == pytest.approx(100 / 60_000, rel=1e-3)


# ------------------------------------------------------------------------------------------------ parameter counts


def count(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors)


def parameters(name: str) -> tuple[int, int, int]:
    """(what the generator has for all tasks, rows stored per task for all tasks, target) of a recipe."""
    model, stream = model_of(all_recipes()[name])
    assert model.generator is not None
    for _ in stream.tasks:
        model.generator.grow(torch.Generator())
    target = dict(model.target.named_parameters())
    rows = sum(value.numel() for key, value in target.items() if model.roles[key] == "per_task")
    return count(model.generator.parameters()), len(stream.tasks) * rows, count(target.values())


def test_hypnettorch_counts():
    assert parameters("split-mnist-hnet-hypnettorch") == (88_542, 0, 88_802)


@pytest.mark.parametrize(
    ("name", "ratio"),
    [
        ("split-mnist-hnet", 0.973),
        ("permuted-mnist-hnet", 0.955),
        ("permuted-mnist-hnet-100", 0.930),
        ("permuted-mnist-hnet-250", 0.975),
        ("permuted-mnist-hnet-small", 0.998),
        ("split-cifar10-100-hnet", 0.976),
        ("split-cifar10-100-hnet-zenke", 0.927),
    ],
)
def test_hypercl_compression(name: str, ratio: float):
    generator, _, target = parameters(name)
    assert generator / target == pytest.approx(ratio, abs=1e-3)


@pytest.mark.parametrize(
    ("benchmark", "totals"),
    [
        (
            "split-cifar100-20x5",
            {
                "hnf": 795_877,
                "hn1": 740_122,
                "hn2": 642_522,
                "hn3": 447_322,
                "hn4": 56_922,
                "hn4-random": 30_422,
            },
        ),
        (
            "split-tiny-imagenet-20x10",
            {"hnf": 795_877, "hn1": 740_122, "hn2": 642_522, "hn3": 447_322, "hn4": 56_922},
        ),
        ("noisy-cifar", {"hn2": 577_030, "hn3": 394_630, "hn4": 29_830}),
    ],
)
def test_partial_hypernetwork_counts(benchmark: str, totals: dict[str, int]):
    found = {key: parameters(f"{benchmark}-phn-{key}") for key in totals}
    assert {key: generator + rows for key, (generator, rows, _) in found.items()} == totals


@pytest.mark.parametrize(
    ("name", "published", "hidden", "outputs"),
    [
        ("split-mnist-hypermask", 12_359_767, 25, 2),
        ("permuted-mnist-hypermask", 205_649_850, 100, 10),
        ("split-cifar100-hypermask", 107_825_910, 100, 10),
        ("split-cifar100-hypermask-zenke", 126_342_038, 100, 10),
        ("split-tiny-imagenet-40x5-hypermask", 107_779_025, 100, 5),
        ("split-tiny-imagenet-40x5-hypermask-zenke", 17_729_041, 100, 5),
        ("split-cifar100-5x20-fecam-hypermask", 214_842_860, 200, 20),
        ("split-cifar100-5x20-fecam-hypermask-zenke", 252_463_628, 200, 20),
    ],
)
def test_hypermask_counts(name: str, published: int, hidden: int, outputs: int):
    """The reference writes a mask for the last bias as well, and never uses it."""
    assert parameters(name)[0] == published - (hidden + 1) * outputs


# --------------------------------------------------------------------------------------------------------- reading

TABLE = """
benchmark = "split-digits"
approach = "er"
default = true
source = "somewhere"
where = "table 1"
checked = true
[settings]
optimizer.lr = 0.1
train.batch_size = 10
[short]
train.iterations = 5
[[row]]
name = "small"
memory = 20
settings.optimizer.lr = 0.2
published = [{ metric = "scenarios.class.average_accuracy", value = 0.5, tolerance = 0.1 }]
[[row]]
name = "large"
memory = 100
default = false
settings.memory.batch_size = 7
published = [{ metric = "scenarios.task.average_accuracy", value = 0.9, tolerance = 0.1, where = "table 2" }]
"""


def test_rows_share_what_stands_above_them():
    small, large = recipes.read("digits-er", TABLE).values()
    assert (small.name, small.memory, small.default) == ("digits-er-small", 20, True)
    assert small.settings == {"optimizer.lr": 0.2, "train.batch_size": 10, "memory.size": 20}
    assert (small.published[0].where, small.published[0].checked) == ("table 1", True)
    assert (large.name, large.memory, large.default) == ("digits-er-large", 100, False)
    assert large.settings == {
        "optimizer.lr": 0.1,
        "train.batch_size": 10,
        "memory.batch_size": 7,
        "memory.size": 100,
    }
    assert (large.published[0].where, large.short) == ("table 2", {"train.iterations": 5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('benchmark = "split-digits"', r"recipes/x.toml: .*missing 2 required keyword-only arguments"),
        (TABLE.replace("tolerance", "margin"), r"recipes/x.toml: .*unexpected keyword argument 'margin'"),
        (TABLE.replace('name = "small"', ""), r"recipes/x.toml: 'name'"),
    ],
)
def test_a_faulty_file_is_named(text: str, message: str):
    with pytest.raises(HypermnesiaError, match=message):
        recipes.read("x", text)


def test_an_unknown_recipe_suggests_the_nearest():
    message = "unknown recipe 'split-mnist-hnets'; did you mean 'split-mnist-hnet'"
    with pytest.raises(HypermnesiaError, match=message):
        recipes.recipe("split-mnist-hnets")


def test_nearest_memory_is_by_ratio():
    asked = {150: 200, 315: 200, 317: 500, 1000: 500, 2000: 5120}
    for size, expected in asked.items():
        found, note = recipes.defaults("split-mnist", "er", size)
        assert found is not None and found.memory == expected and f"memory.size={size}" in note
