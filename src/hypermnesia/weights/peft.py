"""Low-rank additions in the format of Hugging Face's PEFT: `adapter_config.json` and `adapter_model.safetensors`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import Tensors
from hypermnesia.nets.pretrained import Input
from hypermnesia.weights.compose import Add
from hypermnesia.weights.hypernets.factors import OuterFactor, assemble
from hypermnesia.weights.model import Model

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
INSIDE = ("", "body.", "body.net.")
"""Where the network that an adapter is for may lie in a target: by itself, or as `nets.Pretrained` holds it."""


@dataclass(frozen=True)
class Adapter:
    """What the two files hold."""

    config: dict[str, Any]
    tensors: Tensors


def adapter_of(model: Model, task: int) -> Adapter:
    """The additions that `task` makes to its network; w + scale · U Vᵀ is lora_B = U, lora_A = Vᵀ there.

    The classifier is no part of it. Raises `HypermnesiaError` where a task's network is more than the given one, additions
    and a classifier.
    """
    added = [name for name, role in model.roles.items() if role == "added"]
    if not added or not isinstance(model.compose, Add) or model.generator is None:
        raise HypermnesiaError("the PEFT format holds low-rank additions: it is for runs with weights=lora")
    paths = INSIDE if isinstance(next(model.target.children(), None), Input) else INSIDE[:1]
    inside = next(path for path in reversed(paths) if all(name.startswith(path) for name in added))
    ranks, alphas, tensors = {}, {}, {}
    with torch.no_grad():
        factors = model.generator([task], factored=True)
        for factor in factors:
            for i, (name, shape) in enumerate(factor.shapes.items()):
                path, _, kind = name.rpartition(".")
                layer = model.target.get_submodule(path)
                if kind != "weight" or getattr(layer, "groups", 1) != 1:
                    raise HypermnesiaError(
                        f"{name}: PEFT adds to the weights of linear layers and convolutions without groups; choose those "
                        "with weights.target"
                    )
                if isinstance(factor, OuterFactor):
                    up, down = factor.u[0, i], factor.v[0, i].mT
                else:  # too small a matrix to gain from factors: the identity times itself
                    down = assemble([factor])[name][0].flatten(1)
                    up = torch.eye(len(down))
                key, rank = path.removeprefix(inside), len(down)
                kernel = shape[2:]
                tensors[f"{PREFIX}{key}.lora_A.weight"] = down.reshape(rank, *shape[1:]).contiguous()
                tensors[f"{PREFIX}{key}.lora_B.weight"] = up.reshape(
                    *up.shape, *(1 for _ in kernel)
                ).contiguous()
                ranks[key], alphas[key] = rank, model.compose.scale * rank
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "r": max(ranks.values()),
        "lora_alpha": max(alphas.values()),
        "rank_pattern": ranks,
        "alpha_pattern": alphas,
        "target_modules": sorted(ranks),
    }
    return Adapter(config, tensors)


def is_adapter(path: Path) -> bool:
    """Whether a directory holds an adapter in this format."""
    return (path / CONFIG).is_file()


def read_additions(directory: Path) -> Tensors:
    """What the adapter in `directory` adds to each weight (its shape), by the names of the network that it is for.

    Raises `HypermnesiaError` for other methods than LoRA and for files that do not hold what they should.
    """
    try:
        config = json.loads((directory / CONFIG).read_text())
        tensors = load_file(directory / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise HypermnesiaError(f"{directory}: the adapter cannot be read: {error}") from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA" or config.get("use_dora"):
        raise HypermnesiaError(f"{directory}: expected a LoRA adapter in PEFT's format")
    found: Tensors = {}
    for key, down in tensors.items():
        path, is_down, _ = key.removeprefix(PREFIX).partition(".lora_A.weight")
        if not is_down:
            continue
        up = tensors.get(f"{PREFIX}{path}.lora_B.weight")
        if up is None:
            raise HypermnesiaError(f"{directory}: {path} has a lora_A and no lora_B")
        rank = len(down)
        alpha = _of_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", rank))
        scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
        change = scale * (up.flatten(1) @ down.flatten(1)).view(len(up), *down.shape[1:])
        found[f"{path}.weight"] = (
            change.mT if config.get("fan_in_fan_out") else change
        )  # as GPT-2 keeps its weights
    if not found:
        raise HypermnesiaError(f"{directory}: {TENSORS} holds no lora_A of any layer")
    return found


def _of_pattern(pattern: Any, path: str, default: float) -> float:
    """PEFT's patterns are ends of paths."""
    for key, value in (pattern or {}).items():
        if path == key or path.endswith(f".{key}"):
            return float(value)
    return float(default)


@torch.no_grad()
def add_to(net: nn.Module, additions: Tensors, where: Path) -> None:
    """Add to the weights of `net`, in place; raises `HypermnesiaError` where they are for another network."""
    own = dict(net.named_parameters())
    inside = [path for path in INSIDE if all(f"{path}{name}" in own for name in additions)]
    if not inside:
        lacking = next(name for name in additions if name not in own)
        raise HypermnesiaError(
            f"{where}: the adapter adds to {lacking}, which {type(net).__name__} does not have"
        )
    for name, value in additions.items():
        weight = own[inside[0] + name]
        if weight.shape != value.shape:
            raise HypermnesiaError(
                f"{where}: the adapter's {name} is {tuple(value.shape)}, and the network's {tuple(weight.shape)}"
            )
        weight += value
