"""The libraries that we are compared with, in an environment of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FOLDER = Path(__file__).parent / ".peers"
PYTHON = FOLDER / "bin" / "python"
WANTED = ("hypnettorch==0.0.4", "avalanche-lib==0.6.0")
UNDECLARED = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
"""Operators of torchvision's compiled part, which does not load beside a CPU build of torch."""


def install() -> None:
    """Make the environment with the peers, this package and the exact torch of `constraints.txt`."""
    if not PYTHON.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-c", "constraints.txt"]
    subprocess.run([*pip, *WANTED, "torch", "-e", "."], check=True, cwd=ROOT)


def installed() -> bool:
    """Whether the environment is there and complete."""
    folders = FOLDER.glob("lib/python*/site-packages/hypnettorch")
    return PYTHON.exists() and any(True for _ in folders)


def declare_torchvision() -> None:
    """Let torchvision, which Avalanche imports for its data sets, be imported without its compiled part."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    for schema in UNDECLARED:
        if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
            library.define(schema)
    _kept.append(library)  # operators live as long as the object that declared them


_kept: list[object] = []


def hypnettorch(tasks: int, inputs: int = 784, hidden: tuple[int, ...] = (100, 100)) -> tuple[Any, Any]:
    """hypnettorch's (MLP with two outputs, chunked hypernetwork that writes it), of our default sizes, those of its example."""
    from hypnettorch.hnets.chunked_mlp_hnet import ChunkedHMLP  # pyright: ignore[reportMissingImports]
    from hypnettorch.mnets.mlp import MLP  # pyright: ignore[reportMissingImports]

    from hypermnesia.weights import ChunkedOptions

    sizes = ChunkedOptions()
    target = MLP(n_in=inputs, n_out=2, hidden_layers=hidden, no_weights=True, verbose=False)
    hnet = ChunkedHMLP(
        target.param_shapes,
        sizes.chunk,
        chunk_emb_size=sizes.chunk_embedding,
        layers=sizes.hidden,
        cond_in_size=sizes.embedding,
        num_cond_embs=tasks,
        verbose=False,
    )
    return target, hnet
