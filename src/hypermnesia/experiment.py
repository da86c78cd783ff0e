"""The configuration of a run: a benchmark, an approach and options, resolved to one tree and built into a `Fit`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from hypermnesia import config, generative, recipes
from hypermnesia.approaches import Approach, approach
from hypermnesia.base import read_base, start_from
from hypermnesia.checks import check_not_negative
from hypermnesia.combined import combine
from hypermnesia.errors import HypermnesiaError, unknown
from hypermnesia.evaluate import EvaluateOptions
from hypermnesia.fit import Fit, Seeds, TrainOptions
from hypermnesia.hyper import Model
from hypermnesia.hyper.mask import MaskOptions
from hypermnesia.infer import INFERENCES, nothing_to_infer
from hypermnesia.layering import MEMORY, SELECTORS, layered, merge, selected
from hypermnesia.method import Method, Penalty
from hypermnesia.methods.anchor import Anchor
from hypermnesia.methods.drift import Drift
from hypermnesia.nets import NETS, from_factory
from hypermnesia.optim import OptimizerOptions
from hypermnesia.streams import Stream, StreamOptions, find_benchmark, load
from hypermnesia.weights import (
    DEFAULT_GENERATOR,
    WeightsOptions,
    default_generator,
    head_kind,
    model_for,
    writes,
)

DRIFTS = {"drift": "main", "drift_vae": generative.MODEL}
"""The drift penalties by their sections: the model whose written weights each holds."""
PENALTIES = (*DRIFTS, "anchor")
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
    memory = next((layer[key] for layer in (said, file) for key in MEMORY if key in layer), None)
    found, note = (recipe, "") if recipe else _defaults(benchmark, chosen, memory)
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
    memory = next((said[key] for key in MEMORY if key in said), None)
    lower = _lower(benchmark, chosen, _defaults(benchmark, chosen, memory)[0])
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


def _defaults(benchmark: str, chosen: Approach, memory: Any) -> tuple[recipes.Recipe | None, str]:
    """The recipe whose settings hold where the user says nothing, and a note on how it was found."""
    return recipes.defaults(benchmark, chosen.name, memory if type(memory) is int else None)


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


# -------------------------------------------------------------------------------------------------------- building


def build(
    cfg: Config, seed: int = 0, data_dir: Path | None = None, device: str = "cpu", sealed: bool = False
) -> Fit:
    """The run of a configuration with one seed, ready to be iterated over."""
    stream_seed = _seeds(cfg.sections["seeds"], seed)["stream"]
    stream = load(cfg.benchmark, data_dir=data_dir, seed=stream_seed, options=cfg.sections["stream"])
    return assemble(cfg, stream, seed, device, sealed)


def assemble(cfg: Config, stream: Stream, seed: int = 0, device: str = "cpu", sealed: bool = False) -> Fit:
    """As `build`, over a stream that is already at hand."""
    parts, stream = cfg.sections, stream.to(device)
    seeds = _seeds(parts["seeds"], seed)
    trained = stream.joined() if cfg.approach.joined else stream
    method = build_method(cfg)
    models = {"main": build_network(cfg, trained, seeds["init"])} | method.extra_models(
        trained, seeds["init"]
    )
    return Fit(
        models,
        trained,
        method,
        parts["train"],
        parts["optimizer"],
        parts["evaluate"],
        parts.get("infer"),
        Seeds(init=seeds["init"], order=seeds["order"], method=seeds["method"]),
        tested_on=stream,
        sealed=sealed,
        device=device,
    )


def build_method(cfg: Config) -> Method:
    """The method with the penalties that the weights bring along."""
    penalties = [cfg.sections[name] for name in PENALTIES if name in cfg.sections]
    return combine(cfg.sections["method"], *penalties)


def build_network(cfg: Config, stream: Stream, init_seed: int) -> Model:
    """The target network with its weights, as `Fit` takes it."""
    parts, weights = cfg.sections, cfg.sections["weights"]

    def net(outputs: int) -> nn.Module:
        if "net" in parts:
            built = parts["net"].build(stream.shape, outputs)
        else:
            built = from_factory(cfg.names["net"], stream.shape, outputs)
        if weights.base is not None:
            start_from(built, weights.base, weights.base_sha256)
        return built

    return model_for(stream, net, weights, parts.get("generator"), parts.get("mask"), init_seed)


def without_base(cfg: Config) -> Config:
    """The configuration for reading a checkpoint, which holds the network's values itself."""
    return replace(cfg, sections={**cfg.sections, "weights": replace(cfg.sections["weights"], base=None)})


def _seeds(options: SeedOptions, seed: int) -> dict[str, int]:
    own = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: seed if value is None else value for name, value in own.items()}


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
