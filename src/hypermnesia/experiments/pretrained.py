"""Pre-trained values that a network starts from: read from a file or a run, checked, and told apart by a checksum."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.files import expanded
from hypermnesia.core.tensors import Tensors, under_prefix
from hypermnesia.evaluation.schema import seeds_in
from hypermnesia.nets.stages import classifier
from hypermnesia.training import checkpoint
from hypermnesia.weights import peft

PREFIX = "run.models.main.target."
"""Of the target's own tensors in a checkpoint."""


@dataclass(frozen=True)
class Base:
    """The tensors of a plain network by the names of its `state_dict`, and where they were read."""

    tensors: Tensors
    where: Path
    additions: bool = False
    """Whether they are to be added to the network's own weights: an adapter in PEFT's format."""

    @property
    def sha256(self) -> str:
        """Of names, types, shapes and values: equal for a file and the run that it was exported from."""
        digest = hashlib.sha256()
        for name, value in sorted(self.tensors.items()):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
            digest.update(value.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()


def start_from(net: nn.Module, path: str | Path, sha256: str | None = None) -> None:
    """Give `net` the values at `path` (see `read_base` and `put_into`); an error if their checksum is not `sha256`."""
    base = read_base(path)
    if sha256 not in (None, base.sha256):
        raise HypermnesiaError(
            f"weights.base={path} has changed: its checksum is {base.sha256[:8]}, the run was configured with "
            f"{str(sha256)[:8]}; bring the former values back, or start another run"
        )
    put_into(net, base)


def read_base(path: str | Path) -> Base:
    """The values in a .safetensors file, those of the run in a directory (DIR or DIR/seed-K), or an adapter of PEFT's.

    Raises `HypermnesiaError` where there are none.
    """
    path = expanded(path)
    if path.is_dir() and peft.is_adapter(path):
        return Base(peft.read_additions(path), path, additions=True)
    if path.is_dir():
        return Base(_of_run(path), path)
    if path.suffix != ".safetensors":
        raise HypermnesiaError(
            f"weights.base={path}: expected a run directory or a .safetensors file, which holds tensors and runs no "
            "code; write one with safetensors.torch.save_file(net.state_dict(), PATH)"
        )
    try:
        return Base(load_file(path), path)
    except (OSError, SafetensorError) as error:
        raise HypermnesiaError(f"weights.base={path}: cannot be read: {error}") from error


def _of_run(directory: Path) -> Tensors:
    seeds = [directory] if (directory / "config.toml").is_file() else seeds_in(directory)
    if len(seeds) != 1:
        named = f"the seeds {', '.join(d.name for d in seeds)}: name one" if seeds else "no run"
        raise HypermnesiaError(f"weights.base={directory} holds {named}")
    for path in sorted((seeds[0] / "checkpoint").glob("*.json"), reverse=True):
        try:
            tensors = under_prefix(PREFIX, checkpoint.read(path)[0])
        except checkpoint.Damaged:
            continue  # the one before is as good a start
        break
    else:
        raise HypermnesiaError(f"weights.base={seeds[0]} has no sound checkpoint; run it first")
    return tensors


def put_into(net: nn.Module, base: Base) -> None:
    """Give `net` the values of `base`, in place.

    Names and shapes must be the network's own. Only the classifier (its last linear layer) may be absent or of
    another width: then it stays as it is. An adapter is added to what `net` has.
    """
    if base.additions:
        return peft.add_to(net, base.tensors, base.where)
    own = {**dict(net.named_parameters(remove_duplicate=False)), **dict(net.named_buffers())}
    last = f"{classifier(net)}." if classifier(net) else ""
    fitting = {
        name: value
        for name, value in base.tensors.items()
        if not (name.startswith(last) and name in own and own[name].shape != value.shape)
    }
    missing = [n for n in net.state_dict() if n not in base.tensors and not n.startswith(last)]
    foreign = [name for name in base.tensors if name not in own and not name.startswith(last)]
    other = [name for name, value in fitting.items() if name in own and own[name].shape != value.shape]
    for fault, names in (("lacks", missing), ("has what the network lacks:", foreign)):
        if names:
            raise HypermnesiaError(f"weights.base={base.where} {fault} {_listed(names)}{_hint(base.where)}")
    if other:
        name = other[0]
        raise HypermnesiaError(
            f"weights.base={base.where}: {name} is {tuple(base.tensors[name].shape)} there and "
            f"{tuple(own[name].shape)} in the network; build the network with the options of the base"
        )
    with torch.no_grad():
        for name, value in fitting.items():
            if name in own:
                own[name].copy_(value)


def _hint(where: Path) -> str:
    if not where.is_dir():
        return "; it must be a state_dict of the same network"
    return (
        "; a run gives its network if that is one for all tasks (weights=plain) and of the same options. Of others "
        f"take one task's: hypermnesia export {where} --task 1"
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
