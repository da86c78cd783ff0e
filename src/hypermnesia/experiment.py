"""The configuration of a run: a benchmark, an approach and options, resolved to one tree and built into a `Fit`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import nn

from hypermnesia import config, recipes
from hypermnesia.approaches import Approach, approach
from hypermnesia.errors import HypermnesiaError, unknown
from hypermnesia.evaluate import EvaluateOptions
from hypermnesia.fit import Fit, Seeds, TrainOptions
from hypermnesia.hyper import GENERATORS, Model
from hypermnesia.hyper.mask import MaskOptions
from hypermnesia.infer import INFERENCES, nothing_to_infer
from hypermnesia.method import Method, combine
from hypermnesia.methods.anchor import Anchor
from hypermnesia.methods.drift import Drift
from hypermnesia.nets import NETS, from_factory
from hypermnesia.optim import OptimizerOptions
from hypermnesia.streams import Stream, StreamOptions, load
from hypermnesia.weights import DEFAULT_GENERATOR, WeightsOptions, model_for

SELECTORS = {
    "net": "net.name",
    "generator": "generator.name",
    "infer": "infer.name",
    "weights": "weights.kind",
}
"""Words that choose which options a section has; `net=lenet` is short for `net.name=lenet`."""
LENGTHS = ("train.iterations", "train.epochs")
UNHASHED = ("seeds.*", "stream.seed", "train.threads", "checkpoint.*", "benchmark_data")


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
        if self.every < 0:
            raise HypermnesiaError(f"checkpoint.every={self.every} must not be negative")


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
        plain = config.tree(self.sections)
        for section, name in self.names.items():
            plain[section] = {"name": name, **plain.get(section, {})}
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
    benchmark: str, approach_name: str, words: Iterable[str] = (), extra: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of `approach_name` on `benchmark` with the user's `words` (`key=value`).

    Later layers win: the benchmark's base settings, the approach's own, the published ones for this pair, `extra`
    (dotted settings, as from a file), the words. A layer that chooses another network, generator or kind of weights
    drops what earlier layers said about the one it replaces.
    """
    chosen = approach(approach_name)
    said = _selected(config.parse_words(words))
    memory = said.get("memory.size", (extra or {}).get("memory.size"))
    found, note = recipes.defaults(benchmark, approach_name, memory if isinstance(memory, int) else None)
    published = dict(found.settings) if found else {}
    base = recipes.base_settings().get(benchmark, recipes.base_settings()["default"])
    layers = [base, dict(chosen.settings), published, dict(extra or {})]
    lower = _merge([_selected(layer) for layer in layers])
    names, sections = _sections(chosen, _merge([lower, said]))
    if "infer.name" in said and "infer" not in sections:
        raise nothing_to_infer(said["infer.name"])
    full = config.resolve_keys(_aliased(_without_names(said), sections), sections)
    values = _merge([lower, {k: v for k, v in said.items() if k in _SELECTED}, full])
    values = _aliased(_without_names(values), sections)
    kept = {key: value for key, value in values.items() if key in full or key.split(".")[0] in sections}
    return Config(benchmark, chosen, names, config.fill(sections, kept), (note,) if note else ())


_SELECTED = (*SELECTORS.values(), "drift", "anchor")


def _selected(values: Mapping[str, Any]) -> dict[str, Any]:
    full = {SELECTORS.get(key, key): value for key, value in values.items()}
    if "head" in full:
        full["weights.head"] = full.pop("head")
    return full


def _merge(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Later layers over earlier ones; choosing another part drops what was said about the former one."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for selector in SELECTORS.values():
            section = selector.split(".")[0]
            if selector in layer and merged.get(selector, layer[selector]) != layer[selector]:
                gone = (section, "generator") if section == "weights" else (section,)
                merged = {k: v for k, v in merged.items() if k.split(".")[0] not in gone}
        for length, other in (LENGTHS, LENGTHS[::-1]):  # a task's length is given in one of two ways
            if length in layer and other not in layer:
                merged.pop(other, None)
        merged |= layer
    return merged


def _without_names(values: Mapping[str, Any]) -> dict[str, Any]:
    dropped = {"net.name", "generator.name", "infer.name", "drift", "anchor"}
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
    kind = values.get("weights.kind", "plain")
    writes = kind in DEFAULT_GENERATOR and values.get("weights.tail", "generated") == "generated"
    if writes:
        names["generator"] = values.get("generator.name", DEFAULT_GENERATOR[kind])
        sections["generator"] = _choice("generator", names["generator"], GENERATORS)
        if _wants("drift", values):
            sections["drift"] = Drift()
    if kind == "mask":
        sections["mask"] = MaskOptions()
        if _wants("anchor", values):
            sections["anchor"] = Anchor()
    sections["method"] = chosen.method_class()()
    sections["optimizer"] = OptimizerOptions()
    given_in_epochs = values.get("train.epochs") not in (None, "none")  # a TOML file writes none as text
    sections["train"] = TrainOptions(epochs=1) if given_in_epochs else TrainOptions(iterations=1000)
    sections["evaluate"], sections["checkpoint"] = EvaluateOptions(), CheckpointOptions()
    own_heads = values.get("weights.head") in ("sliced", "per_task")
    if kind != "plain" or own_heads or values.get("weights.per_task") or values.get("weights.body"):
        names["infer"] = values.get("infer.name", "entropy")
        sections["infer"] = _choice("inference", names["infer"], INFERENCES)
    return names, sections


def _wants(penalty: str, values: Mapping[str, Any]) -> bool:
    """`drift=none` and `anchor=none` leave a penalty out."""
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
    parts = cfg.sections
    seeds = _seeds(parts["seeds"], seed)
    stream = load(cfg.benchmark, data_dir=data_dir, seed=seeds["stream"], options=parts["stream"]).to(device)
    trained = stream.joined() if cfg.approach.joined else stream
    method = build_method(cfg)
    models = {"main": build_network(cfg, trained, seeds["init"])} | method.extra_models(
        trained, seeds["init"]
    )
    inference = parts.get("infer")
    return Fit(
        models,
        trained,
        method,
        parts["train"],
        parts["optimizer"],
        parts["evaluate"],
        inference,
        Seeds(init=seeds["init"], order=seeds["order"], method=seeds["method"]),
        tested_on=stream,
        sealed=sealed,
        device=device,
    )


def build_method(cfg: Config) -> Method:
    """The method with the penalties that the weights bring along."""
    penalties = [cfg.sections[name] for name in ("drift", "anchor") if name in cfg.sections]
    return combine(cfg.sections["method"], *penalties)


def build_network(cfg: Config, stream: Stream, init_seed: int) -> Model:
    """The target network with its weights, as `Fit` takes it."""
    parts = cfg.sections

    def net(outputs: int) -> nn.Module:
        if "net" in parts:
            return parts["net"].build(stream.shape, outputs)
        return from_factory(cfg.names["net"], stream.shape, outputs)

    return model_for(stream, net, parts["weights"], parts.get("generator"), parts.get("mask"), init_seed)


def _seeds(options: SeedOptions, seed: int) -> dict[str, int]:
    own = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: seed if value is None else value for name, value in own.items()}


def with_words(cfg: Config, words: Iterable[str]) -> Config:
    """The same configuration with further words, keeping everything else as resolved."""
    values = config.resolve_keys(_aliased(config.parse_words(words), cfg.sections), cfg.sections)
    flat = _merge([recipes.flatten(config.tree(cfg.sections)), values])
    return replace(cfg, sections=config.fill(cfg.sections, flat))


def from_toml(text: str) -> Config:
    """The configuration that `Config.to_toml` wrote."""
    flat = recipes.flatten(config.from_toml(text))
    benchmark, name = flat.pop("benchmark"), flat.pop("approach")
    chosen = approach(str(name))
    for penalty in ("drift", "anchor"):  # a saved tree says everything: a section that is absent was left out
        if not any(key.startswith(f"{penalty}.") for key in flat):
            flat[penalty] = None
    names, sections = _sections(chosen, flat)
    return Config(str(benchmark), chosen, names, config.fill(sections, _without_names(flat)))
