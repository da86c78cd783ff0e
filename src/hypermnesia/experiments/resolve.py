"""From a benchmark, an approach and words to one configuration: settings in layers, later ones over earlier ones.

A layer that chooses another part begins with that part's own defaults: what earlier layers said about the one that it
replaces goes with it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from hypermnesia.core.declared import Checked, NotNegative
from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import StreamOptions, find_benchmark
from hypermnesia.evaluation.evaluate import EvaluateOptions
from hypermnesia.evaluation.infer import INFERENCES, nothing_to_infer
from hypermnesia.experiments import config, recipes
from hypermnesia.experiments.approaches import Approach, approach
from hypermnesia.experiments.penalties import JOINING, PENALTIES, brought, left_out
from hypermnesia.experiments.pretrained import read_base
from hypermnesia.nets import NETS, find_net, name_of_net
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights import GENERATORS
from hypermnesia.weights.options import WEIGHTS, Plain, Weights, of_kind

SELECTORS = {
    "net": "net.name",
    "generator": "weights.generator.name",
    "infer": "infer.name",
    "weights": "weights.kind",
    "kind": "weights.kind",
}
"""Words that choose a part of the run; `net=lenet` is short for `net.name=lenet`."""
CHOICES = tuple(dict.fromkeys(SELECTORS.values()))
PARTS = {"generator": "weights.generator", "mask": "weights.mask"}
"""Sections within others that are called by their own name alone."""
LENGTHS = {"train.iterations": "train.epochs", "train.epochs": "train.iterations"}
"""A task's length is given in one of two ways; the later one counts."""
ASKED = (("memory.size", "method.memory.size"), ("stream.tasks", "tasks"), ("net", "net.name"))
"""A recipe may belong to a size of the replay memory, a number of tasks, a network; the keys that say these."""
_UNHASHED = "seeds.* stream.seed train.threads train.reproducible checkpoint.* weights.base benchmark_data"
UNHASHED = tuple(_UNHASHED.split())


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
class CheckpointOptions(Checked, section="checkpoint"):
    """When a run is saved, beside the end of each task."""

    every: NotNegative = 60.0
    """Seconds between checkpoints within a task, ≥ 0."""


@dataclass(frozen=True)
class Config:
    """Everything that decides a run's results, but for its seed."""

    benchmark: str
    approach: Approach
    sections: Mapping[str, Any]
    """section → its options dataclass."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What the user should be told about how defaults were found."""

    def tree(self) -> dict[str, Any]:
        """Plain nested values, as config.toml holds them."""
        plain: dict[str, Any] = config.tree(self.sections)
        for key, name in chosen(self.sections).items():
            *path, tag = key.split(".")
            inside = plain
            for part in path[:-1]:
                inside = inside[part]
            inside[path[-1]] = {tag: name, **inside[path[-1]]}
        for name in brought(self.sections):
            # what was left out is said, so that the tree alone gives the same run
            plain.setdefault(name, None)
        return {"benchmark": self.benchmark, "approach": self.approach.name, **plain}

    def to_toml(self) -> str:
        """The text of config.toml."""
        return config.to_toml(self.tree())

    @property
    def sha256(self) -> str:
        """Identifies the configuration; seeds, paths, threads, rounding and checkpoints do not count."""
        return config.sha256(self.tree(), exclude=UNHASHED)


def chosen(sections: Mapping[str, Any]) -> dict[str, str]:
    """The names of the parts that the run has, by the keys that choose them."""
    net, weights = sections["net"], sections["weights"]
    names = {"weights.kind": weights.kind, "net.name": name_of_net(net)}
    if weights.generator is not None:
        names["weights.generator.name"] = GENERATORS.name_of(weights.generator)
    if "infer" in sections:
        names["infer.name"] = _name_of(sections["infer"], INFERENCES)
    return names


def _name_of(options: Any, known: Mapping[str, type]) -> str:
    return next(name for name, kind in known.items() if type(options) is kind)


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
    of `recipe`), `extra` (dotted settings, as from a file), the words.
    """
    wanted = approach(approach_name)
    said = config.parse_words(words)
    draft, note = _begun(benchmark, wanted, [said, extra or {}], recipe)
    draft.add(extra or {})
    draft.add(said)
    return Config(benchmark, wanted, _with_checksum(draft.sections), (note,) if note else ())


def _begun(
    benchmark: str, wanted: Approach, said: Sequence[Mapping[str, Any]], recipe: recipes.Recipe | None = None
) -> tuple["Draft", str]:
    """What holds where the user says nothing, and a note on how it was found."""
    find_benchmark(benchmark)
    base, note = recipes.base_of(benchmark)
    if recipe is None:
        asked = [next((layer[key] for layer in said for key in keys if key in layer), None) for keys in ASKED]
        memory, tasks = (number if type(number) is int else None for number in asked[:2])
        net = asked[2] if isinstance(asked[2], str) else None
        note = "" if net else note
        recipe, published = recipes.defaults(benchmark, wanted.name, memory, tasks, net)
        note = published or note
    everywhere, hyper = recipes.for_hyper(base)
    own = hyper if wanted.settings.get("weights.kind") == "hyper" else {}
    draft = Draft(wanted)
    for layer in (everywhere, wanted.settings, own, recipe.settings if recipe else {}):
        draft.add(layer)
    return draft, note


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
    said = config.parse_words(words)
    draft, _ = _begun(benchmark, approach(approach_name), [said])
    draft.choose({draft.in_full(key): value for key, value in said.items()})
    return [
        word
        for word, key in zip(words, said, strict=True)
        if any(only is None or full.split(".")[0] in only for full in draft.meant(draft.in_full(key)))
    ]


def with_words(cfg: Config, words: Iterable[str]) -> Config:
    """The same configuration with further words; everything else stays as resolved."""
    draft = Draft(cfg.approach, cfg.sections)
    draft.add(config.parse_words(words))
    return replace(cfg, sections=draft.sections)


def from_toml(text: str) -> Config:
    """The configuration that `Config.to_toml` wrote."""
    flat = recipes.flatten(config.from_toml(text, "config.toml"))
    for key in ("benchmark", "approach"):
        if not isinstance(flat.get(key), str):
            raise HypermnesiaError(f"config.toml names no {key}; it is no saved configuration")
    benchmark, wanted = flat.pop("benchmark"), approach(flat.pop("approach"))
    find_benchmark(benchmark)
    draft = Draft(wanted)
    draft.add(_of_one_kind(flat))
    return Config(benchmark, wanted, draft.sections)


def _of_one_kind(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Version 0.1 wrote the options of all kinds of weights; those of other kinds than the run's had no effect."""
    own = {f.name for f in fields(WEIGHTS.get(str(flat.get("weights.kind")), Weights))}
    everywhere = {f.name for kind in WEIGHTS.values() for f in fields(kind)}
    idle = {f"weights.{name}" for name in everywhere - own}
    kept = {key: value for key, value in flat.items() if key not in idle}
    return {key: value for key, value in kept.items() if (key, value) != ("weights.cut", "default")}


def _in_full(key: str) -> str:
    """The key, where it names a choice or a part by its own name alone, with the sections that it lies in."""
    first, dot, rest = key.partition(".")
    return SELECTORS.get(key) or PARTS.get(first, first) + dot + rest


class Draft:
    """A configuration in the making."""

    def __init__(self, wanted: Approach, sections: Mapping[str, Any] | None = None) -> None:
        self.approach = wanted
        self.sections: dict[str, Any] = {
            "stream": StreamOptions(),
            "seeds": SeedOptions(),
            "weights": Plain(),
            "net": NETS["mlp"](),
            "method": wanted.method_class()(),
            "optimizer": OptimizerOptions(),
            "train": TrainOptions(iterations=1000),
            "evaluate": EvaluateOptions(),
            "checkpoint": CheckpointOptions(),
        }
        self.without: set[str] = set()
        """Penalties that it could have and shall not."""
        if sections is not None:
            self.sections = dict(sections)
            self.without = set(brought(self.sections)) - set(sections)
        self._settle()

    def add(self, layer: Mapping[str, Any]) -> None:
        """Put settings, plain values under full or short keys, over those that are there.

        Raises `HypermnesiaError` for a key that the run does not have and for a value that is not right.
        """
        said: dict[str, Any] = {}
        for key, value in layer.items():
            full = self.in_full(key)
            if full in said:
                raise HypermnesiaError(f"{full} is given twice; give it once")
            said[full] = value
        self.choose(said)
        missing = [
            f"{full}."
            for full in PARTS.values()
            if getattr(self.sections["weights"], full.partition(".")[2]) is None
        ]
        for key, value in said.items():
            idle = key in CHOICES and value is not None and not self.meant(key)
            if idle or key.startswith(tuple(missing)):
                raise self._has_none(key, value)
        rest = {key: value for key, value in said.items() if key not in (*CHOICES, *PENALTIES)}
        values = config.resolve_keys(rest, self.sections)
        for length, other in LENGTHS.items():
            if values.get(length) is not None:
                values.setdefault(other, None)
        self.sections = config.fill(self.sections, values)

    def in_full(self, key: str) -> str:
        """As `_in_full`; where the approach is a penalty, its options are the method's: `ewc.strength`, `method.strength`."""
        full = _in_full(key)
        first, dot, rest = full.partition(".")
        own = first in JOINING and isinstance(self.sections["method"], JOINING[first])
        return f"method{dot}{rest}" if own else full

    def meant(self, key: str) -> list[str]:
        """The full keys that `key` may mean in this run; none if it does not have it."""
        if key in (*CHOICES, *PENALTIES):
            there = {*chosen(self.sections), *brought(self.sections)}
            return [key] if key in there else []
        return config.meant(key, config.keys(self.sections))

    def choose(self, said: Mapping[str, Any]) -> None:
        """Take the parts that are chosen, each with its defaults, and the parts that these bring along."""
        if said.get("weights.kind", self.sections["weights"].kind) != self.sections["weights"].kind:
            # A learning rate belongs to the numbers that it moves: what trains a network makes its generator diverge.
            self.sections |= {"weights": of_kind(said["weights.kind"]), "optimizer": OptimizerOptions()}
            for penalty in ("drift", "anchor"):
                self.sections.pop(penalty, None)
                self.without.discard(penalty)
        first = {key.partition(".")[0] for key in said}
        joining = {name: kind() for name, kind in JOINING.items() if name in first}
        self.sections = joining | self.sections
        self._set_weights(said)
        self.without |= {name for name in PENALTIES if name in said and left_out(name, said[name])}
        self._settle()
        there = chosen(self.sections)
        for key in ("net.name", "weights.generator.name", "infer.name"):
            if key in there and said.get(key, there[key]) != there[key]:
                self._take(key, said[key])

    def _take(self, key: str, name: Any) -> None:
        """Put the part of that name, with its defaults, where another one was."""
        weights = self.sections["weights"]
        if key == "net.name":
            self.sections["net"] = find_net(name)
        elif key == "infer.name":
            self.sections["infer"] = _choice("inference", name, INFERENCES)
        else:
            fresh = weights.default_generator(name)
            self.sections["weights"] = replace(weights, generator=fresh)

    def _set_weights(self, said: Mapping[str, Any]) -> None:
        """Set what is said of the weights themselves, for it may bring a generator or masks, or take them away."""
        weights = self.sections["weights"]
        parts = [f.name for f in fields(weights) if f.metadata.get("part")]
        own = {key: value for key, value in config.tree(weights).items() if key not in parts}
        known = config.keys(self.sections)
        for key, value in said.items():
            if len(full := config.meant(key, known)) == 1 and full[0].removeprefix("weights.") in own:
                own[full[0].removeprefix("weights.")] = value
        fresh = config.build(type(weights), own, "weights")
        alike = fresh.generator is None or type(fresh.default_generator()) is type(
            weights.default_generator()
        )
        parts = parts if alike else [part for part in parts if part != "generator"]
        kept = {part: old for part in parts if (old := getattr(weights, part)) and getattr(fresh, part)}
        self.sections["weights"] = replace(fresh, **kept)

    def _settle(self) -> None:
        """Bring in the parts that go with the weights, with their defaults, and take out those that do not."""
        possible = brought(self.sections)
        wanted = {name: penalty for name, penalty in possible.items() if name not in self.without}
        if self.sections["weights"].differs:
            wanted["infer"] = INFERENCES["entropy"]()
        for name in (*PENALTIES, "infer"):
            if name not in wanted:
                self.sections.pop(name, None)
        self.sections = wanted | self.sections

    def _has_none(self, key: str, value: Any) -> HypermnesiaError:
        """A choice of a part that the run does not have would change nothing, and nobody would notice."""
        if key == "infer.name":
            return nothing_to_infer(value)
        word, kinds = (
            key.removeprefix("weights."),
            "mask brings" if "mask." in key else "hyper, partial, mask or lora bring",
        )
        return HypermnesiaError(
            f"{word}={value}: {self.approach.name} with these weights has none; weights={kinds} one"
        )


def _choice(kind: str, name: Any, known: Mapping[str, type]) -> Any:
    if not isinstance(name, str) or name not in known:
        raise unknown(kind, str(name), known)
    return known[name]()
