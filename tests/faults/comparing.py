"""What two run directories with the same seeds have left, compared bit for bit, but for times."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from running import read as read_json
from running import without_times

from hypermnesia.training import checkpoint

_CHECKPOINT = re.compile(r"seed-[0-9]+/checkpoint/[0-9]{10}-[0-9]{5}\.(json|safetensors)")


def differences(plain: Path, struck: Path) -> list[str]:
    """How what a killed run has left differs from what an untouched one has; empty if nothing but times does."""
    return list(_differences(plain, struck))


def _differences(plain: Path, struck: Path) -> Iterator[str]:
    ours, theirs = ({str(p.relative_to(d)) for p in d.rglob("*")} for d in (plain, struck))
    # Which steps' checkpoints lie there beside the last one's may differ.
    odd = {name for name in ours ^ theirs if not _CHECKPOINT.fullmatch(name)}
    if odd:
        yield f"only one of the two has {', '.join(sorted(odd))}"
    for seed in sorted(plain.glob("seed-*")):
        for difference in _of_a_seed(seed, struck / seed.name):
            yield f"{seed.name}: {difference}"


def _of_a_seed(plain: Path, struck: Path) -> Iterator[str]:
    for read, what in ((_result, "result.json"), (_events, "events.jsonl")):
        if read(plain) != read(struck):
            yield f"{what} differs"
    (tensors, form), (others, other) = _checkpoint(plain), _checkpoint(struck)
    if tensors.keys() != others.keys():
        yield "the last checkpoints hold different tensors"
        return
    for name, value in tensors.items():
        if value.dtype != others[name].dtype or not torch.equal(value, others[name]):
            yield f"{name} differs"
    if form != other:
        yield "the last checkpoints differ beside their tensors"


def _result(directory: Path) -> Any:
    return without_times(read_json(directory / "result.json"))


def _events(directory: Path) -> list[dict[str, Any]]:
    lines = (directory / "events.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in ("time", "seconds")} for line in lines]


def _checkpoint(directory: Path) -> tuple[dict[str, torch.Tensor], Any]:
    newest = max((directory / "checkpoint").glob("*.json"))
    tensors, form, _ = checkpoint.read(newest)
    return tensors, _without_seconds(form)


def _without_seconds(form: Any) -> Any:
    if isinstance(form, dict):
        return {key: _without_seconds(value) for key, value in form.items() if key != "seconds"}
    return [_without_seconds(item) for item in form] if isinstance(form, list) else form
