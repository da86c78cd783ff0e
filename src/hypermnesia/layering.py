"""Settings in layers, such as published ones under a user's words: which of them still hold beneath a later choice."""

from collections.abc import Iterable, Mapping
from typing import Any

SELECTORS = {
    "net": "net.name",
    "generator": "generator.name",
    "infer": "infer.name",
    "weights": "weights.kind",
}
"""Words that choose which options a section has; `net=lenet` is short for `net.name=lenet`."""
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
