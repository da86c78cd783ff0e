"""From a benchmark, an approach and words to one configuration: settings in layers, later ones over earlier ones.

A layer that chooses another part drops what earlier layers said about the one it replaces.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hypermnesia.core.checks import check_not_negative
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import StreamOptions, find_benchmark
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.evaluation.infer import INFERENCES, nothing_to_infer
from hypermnesia.experiments import config, recipes
from hypermnesia.experiments.approaches import Approach, approach
from hypermnesia.experiments.pretrained import read_base
from hypermnesia.methods.base import Penalty
from hypermnesia.methods.penalties.anchor import Anchor
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.replay import generative
from hypermnesia.nets import NETS
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.compose import MaskOptions
from hypermnesia.weights.options import (
    DEFAULT_GENERATOR,
    WeightsOptions,
    default_generator,
    head_kind,
    writes,
)

DRIFTS = {"drift": "main", "drift_vae": generative.MODEL}
"""The drift penalties by their sections: the model whose written weights each holds."""
PENALTIES = (*DRIFTS, "anchor")

SELECTORS = {
    "net": "net.name",
    "generator": "generator.name",
    "infer": "infer.name",
    "weights": "weights.kind",
}
"""Words that choose which options a section has; `net=lenet` is short for `net.name=lenet`."""
CHOICES = (*SELECTORS.values(), *PENALTIES)
"""Keys that say which parts a run has."""
UNHASHED = ("seeds.*", "stream.seed", "train.threads", "checkpoint.*", "weights.base", "benchmark_data")


@dataclass(frozen=True, kw_only=True)
class SeedOptions:
    """One number, the run's seed, sets all randomness; each source of it can be set alone."""

    stream: int | None = None
    """Class order, permutations, angles, splits; none = the run's seed."""
    init: int | None = None
    """Initial parameters and embeddings; none = the run's seed."""
    order: int | None = None
    """Order and augmentation of samples; none = the run's seed."""
    method: int | None = None
    """Draws of the method; none = the run's seed."""


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions:
    """When a run is saved, beside the end of each task."""

    every: float = 60.0
    """Seconds between checkpoints within a task, ≥ 0."""

    def __post_init__(self) -> None:
        check_not_negative("checkpoint.every", self.every)


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's results, but for its seed."""

    benchmark: str
    approach: Approach
    names: Mapping[str, str]
    """The chosen net, generator and inference, by section."""
    sections: Mapping[str, Any]
    """section → its options dataclass."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What the user should be told about how defaults were found."""

    def tree(self) -> dict[str, Any]:
        """Plain nested values, as config.toml holds them."""
        plain: dict[str, Any] = config.tree(self.sections)
        for section, name in self.names.items():
            plain[section] = {"name": name, **plain.get(section, {})}
        for name in _penalties(self.sections):
            plain.setdefault(
                name, None
            )  # what was left out is said, so that the tree alone gives the same run
        return {"benchmark": self.benchmark, "approach": self.approach.name, **plain}

    def to_toml(self) -> str:
        """The text of config.toml."""
        return config.to_toml(self.tree())

    @property
    def sha256(self) -> str:
        """Identifies the configuration; seeds, paths, threads and checkpoints do not count."""
        return config.sha256(self.tree(), exclude=UNHASHED)


# ------------------------------------------------------------------------------------------------------- resolving


def resolve(
    benchmark: str,
    approach_name: str,
    words: Iterable[str] = (),
    extra: Mapping[str, Any] | None = None,
    recipe: recipes.Recipe | None = None,
) -> Config:
    """The configuration of `approach_name` on `benchmark` with the user's `words` (`key=value`).

    Later layers win: the benchmark's base settings, the approach's own, the published ones for this pair (or those
    of `recipe`), `extra` (dotted settings, as from a file), the words. A layer that chooses another network,
    generator or kind of weights drops what earlier layers said about the one it replaces. Of the first three,
    settings of parts that this run does not have are left out; in `extra` and in the words they are errors.
    """
    chosen = approach(approach_name)
    file, said = selected(extra or {}), selected(config.parse_words(words))
    found, note = (recipe, "") if recipe else _defaults(benchmark, chosen, [said, file])
    lower = _lower(benchmark, chosen, found)
    lower, file, said = layered([lower, file, said])
    names, sections = _sections(chosen, lower | file | said)
    _refuse_idle(file | said, sections, chosen)
    ours = _aliased(_without_names(lower), sections)
    ours = {key: value for key, value in ours.items() if key.split(".")[0] in sections}
    values = merge([ours, _resolved(file, sections), _resolved(said, sections)])
    sections["train"] = _train_options(values)
    filled = _with_checksum(config.fill(sections, values))
    return Config(benchmark, chosen, names, filled, (note,) if note else ())


def _with_checksum(sections: dict[str, Any]) -> dict[str, Any]:
    """The sections with the checksum of the pre-trained base, if there is one: the base belongs to what is run."""
    weights = sections["weights"]
    if weights.base is None or weights.base_sha256 is not None:
        return sections
    return sections | {"weights": replace(weights, base_sha256=read_base(weights.base).sha256)}


def resolve_recipe(name: str, words: Iterable[str] = (), short: bool = False) -> Config:
    """The configuration of the recipe called `name`: its own settings, with its short budget on top if asked for."""
    found = recipes.recipe(name)
    return resolve(found.benchmark, found.approach, words, found.short if short else None, found)


def takes(
    benchmark: str, approach_name: str, words: Sequence[str], only: Collection[str] | None = None
) -> list[str]:
    """Those of `words` whose key `approach_name` has on `benchmark`, given that the others are said too.

    `only`: of these sections alone.
    """
    chosen = approach(approach_name)
    said = selected(config.parse_words(words))
    lower = _lower(benchmark, chosen, _defaults(benchmark, chosen, [said])[0])
    without = {key: value for key, value in said.items() if key not in PENALTIES}
    _, sections = _sections(chosen, merge([lower, without]))
    taken = []
    for word in words:
        meant = _meant(next(iter(selected(config.parse_words([word])))), sections)
        if any(only is None or full.split(".")[0] in only for full in meant):
            taken.append(word)
    return taken


def _meant(key: str, sections: Mapping[str, Any]) -> list[str]:
    """The full keys that `key` may mean in these sections; none if they do not have it."""
    if key in CHOICES:
        return [key] if key.split(".")[0] in ("net", "weights", *sections) else []
    [key] = _aliased({key: None}, sections)
    return [full for full in config.keys(sections) if full == key or full.endswith(f".{key}")]


def _defaults(
    benchmark: str, chosen: Approach, layers: Sequence[Mapping[str, Any]]
) -> tuple[recipes.Recipe | None, str]:
    """The recipe whose settings hold where the user says nothing, and a note on how it was found.

    `layers`: what the user says, the first counts most.
    """

    def asked(keys: Collection[str], kind: type) -> Any:
        value = next((layer[key] for layer in layers for key in keys if key in layer), None)
        return value if type(value) is kind else None

    memory, tasks, net = asked(MEMORY, int), asked(TASKS, int), asked(["net.name"], str)
    return recipes.defaults(benchmark, chosen.name, memory, tasks, net)


def _lower(benchmark: str, chosen: Approach, found: recipes.Recipe | None) -> dict[str, Any]:
    """What holds where the user says nothing."""
    find_benchmark(benchmark)
    base = recipes.base_settings().get(benchmark, recipes.base_settings()["default"])
    layers = [base, chosen.settings, found.settings if found else {}]
    return merge([selected(layer) for layer in layers])


def _refuse_idle(said: Mapping[str, Any], sections: Mapping[str, Any], chosen: Approach) -> None:
    """A choice of a part that the run does not have would change nothing, and nobody would notice."""
    for key in CHOICES:
        if said.get(key) is not None and not _meant(key, sections):
            if key == "infer.name":
                raise nothing_to_infer(said[key])
            raise HypermnesiaError(
                f"{key}={said[key]}: {chosen.name} with these weights has none; weights=hyper, partial, mask or "
                "lora bring one"
            )


def _resolved(values: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    return config.resolve_keys(_aliased(_without_names(values), sections), sections)


def _without_names(values: Mapping[str, Any]) -> dict[str, Any]:
    dropped = {"net.name", "generator.name", "infer.name", *PENALTIES}
    return {key: value for key, value in values.items() if key not in dropped}


def _aliased(values: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    """`memory.*` belongs to the method; `weights.chunk` and the like to the generator."""
    own = {f.name for f in fields(WeightsOptions)}
    written = {f.name for f in fields(sections["generator"])} if "generator" in sections else set()
    renamed = {}
    for key, value in values.items():
        section, _, rest = key.partition(".")
        if section == "memory" and hasattr(sections["method"], "memory"):
            key = f"method.{key}"
        elif section == "weights" and rest not in own and rest in written:
            key = f"generator.{rest}"
        if key in renamed:
            raise HypermnesiaError(f"{key} is given twice; give it once")
        renamed[key] = value
    return renamed


def _choice(kind: str, name: Any, known: Mapping[str, type]) -> Any:
    if not isinstance(name, str) or name not in known:
        raise unknown(kind, str(name), known)
    return known[name]()


def _sections(chosen: Approach, values: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """Which sections the run has, each with its defaults: (names of chosen parts, section → default options)."""
    names: dict[str, str] = {"net": values.get("net.name", "mlp")}
    sections: dict[str, Any] = {
        "stream": StreamOptions(),
        "seeds": SeedOptions(),
        "weights": WeightsOptions(),
    }
    if not str(names["net"]).startswith("python:"):
        sections["net"] = _choice("net", names["net"], NETS)
    weights = _weights(values)
    if writes(weights):
        names["generator"] = values.get("generator.name", DEFAULT_GENERATOR.get(weights.kind, "chunked"))
        sections["generator"] = default_generator(weights.kind, names["generator"])
    if weights.kind == "mask" or weights.masked:
        sections["mask"] = MaskOptions()
    sections["method"] = chosen.method_class()()
    sections |= {name: penalty for name, penalty in _penalties(sections).items() if _wants(name, values)}
    sections["optimizer"] = OptimizerOptions()
    sections["train"] = _train_options(values)
    sections["evaluate"], sections["checkpoint"] = EvaluateOptions(), CheckpointOptions()
    if weights.kind != "plain" or head_kind(weights) != "shared" or writes(weights) or weights.per_task:
        names["infer"] = values.get("infer.name", "entropy")
        sections["infer"] = _choice("inference", names["infer"], INFERENCES)
    return names, sections


def _weights(values: Mapping[str, Any]) -> WeightsOptions:
    """What the values say of `weights.*`, as far as these are its own options and not the generator's."""
    own = {f"weights.{f.name}" for f in fields(WeightsOptions)}
    said = {key.removeprefix("weights."): value for key, value in values.items() if key in own}
    return config.build(WeightsOptions, said, "weights")


def _penalties(sections: Mapping[str, Any]) -> dict[str, Penalty]:
    """The penalties that the run's weights bring along, by their sections, with their defaults."""
    written = {*(["main"] if "generator" in sections else []), *sections["method"].written_models}
    found: dict[str, Penalty] = {name: Drift(holds=held) for name, held in DRIFTS.items() if held in written}
    return found | {"anchor": Anchor()} if "mask" in sections else found


def _train_options(values: Mapping[str, Any]) -> TrainOptions:
    """The defaults of `train`: its length is given in one of two ways."""
    return TrainOptions(iterations=1000) if values.get("train.epochs") is None else TrainOptions(epochs=1)


def _wants(penalty: str, values: Mapping[str, Any]) -> bool:
    """`drift=none` and the like leave a penalty out."""
    if penalty in values and values[penalty] is not None:
        raise HypermnesiaError(
            f"{penalty}={values[penalty]}: only none can be said of the whole penalty; "
            f"its options are {penalty}.*"
        )
    return penalty not in values


def with_words(cfg: Config, words: Iterable[str]) -> Config:
    """The same configuration with further words; everything else stays as resolved."""
    said = _resolved(selected(config.parse_words(words)), cfg.sections)
    values = merge([recipes.flatten(config.tree(cfg.sections)), said])
    return replace(cfg, sections=config.fill({**cfg.sections, "train": _train_options(values)}, values))


def from_toml(text: str) -> Config:
    """The configuration that `Config.to_toml` wrote."""
    flat = recipes.flatten(config.from_toml(text, "config.toml"))
    for key in ("benchmark", "approach"):
        if not isinstance(flat.get(key), str):
            raise HypermnesiaError(f"config.toml names no {key}; it is no saved configuration")
    benchmark, chosen = flat.pop("benchmark"), approach(flat.pop("approach"))
    find_benchmark(benchmark)
    names, sections = _sections(chosen, flat)
    return Config(benchmark, chosen, names, config.fill(sections, _without_names(flat)))


REPLACES = {
    "net.name": ("net",),
    "generator.name": ("generator",),
    "infer.name": ("infer",),
    "weights.kind": ("weights", "generator", "drift", "mask", "anchor", "optimizer"),
}
"""Sections that belong to what is chosen: with another choice, what was said about them before is dropped. A learning
rate belongs to the numbers that it moves: what trains a network by itself makes its generator diverge."""
UNSAID = {"weights.kind": "plain"}
"""What a choice is where nobody has made it."""
MEMORY = ("memory.size", "method.memory.size")
"""A recipe may belong to a size of the replay memory; the keys that say it."""
TASKS = ("stream.tasks", "tasks")
"""Or to a number of tasks."""
LENGTHS = {"train.iterations": "train.epochs", "train.epochs": "train.iterations"}
"""A task's length is given in one of two ways; the later one counts."""


def selected(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values with the keys that choose parts of the run written in full."""
    full = {SELECTORS.get(key, key): value for key, value in values.items()}
    for key in ("head", "kind", "tail", "per_task", "generated", "masked"):  # decide which sections there are
        if key in full:
            full[f"weights.{key}"] = full.pop(key)
    return full


def layered(layers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each layer without what a later one drops by choosing another part in place of the one it is about."""
    kept: list[dict[str, Any]] = []
    for layer in layers:
        so_far = {key: value for earlier in kept for key, value in earlier.items()}
        other = [
            key
            for key in REPLACES
            if key in layer and so_far.get(key, UNSAID.get(key, layer[key])) != layer[key]
        ]
        gone = {section for key in other for section in REPLACES[key]}
        given = {key for key in LENGTHS if layer.get(key) is not None}
        lengths = {LENGTHS[key] for key in given if LENGTHS[key] not in layer}
        kept = [
            {key: v for key, v in earlier.items() if key.split(".")[0] not in gone and key not in lengths}
            for earlier in kept
        ]
        kept.append(dict(layer))
    return kept


def merge(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Later layers over what is left of earlier ones."""
    return {key: value for layer in layered(layers) for key, value in layer.items()}
