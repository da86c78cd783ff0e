"""Train any `torch.nn.Module` on a sequence of tasks without forgetting the earlier ones.

Public names are listed in `__all__` and imported when first used, so that `import hypermnesia` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypermnesia.combined import combine as combine
    from hypermnesia.errors import HypermnesiaError as HypermnesiaError
    from hypermnesia.errors import RunFailed as RunFailed
    from hypermnesia.evaluate import EvaluateOptions as EvaluateOptions
    from hypermnesia.experiment import build as build
    from hypermnesia.experiment import resolve as resolve
    from hypermnesia.fit import Fit as Fit
    from hypermnesia.fit import Records as Records
    from hypermnesia.fit import Seeds as Seeds
    from hypermnesia.fit import TrainOptions as TrainOptions
    from hypermnesia.fit import fit as fit
    from hypermnesia.generative import GenerativeOptions as GenerativeOptions
    from hypermnesia.hyper import ChunkedOptions as ChunkedOptions
    from hypermnesia.hyper import DenseOptions as DenseOptions
    from hypermnesia.hyper import HeadsOptions as HeadsOptions
    from hypermnesia.hyper import LowRankOptions as LowRankOptions
    from hypermnesia.hyper import MaskOptions as MaskOptions
    from hypermnesia.hyper import Model as Model
    from hypermnesia.method import Aux as Aux
    from hypermnesia.method import Batch as Batch
    from hypermnesia.method import Learner as Learner
    from hypermnesia.method import Method as Method
    from hypermnesia.method import Net as Net
    from hypermnesia.method import Penalty as Penalty
    from hypermnesia.methods.agem import AGEM as AGEM
    from hypermnesia.methods.anchor import Anchor as Anchor
    from hypermnesia.methods.der import DER as DER
    from hypermnesia.methods.derpp import DERPP as DERPP
    from hypermnesia.methods.drift import Drift as Drift
    from hypermnesia.methods.er import ER as ER
    from hypermnesia.methods.er_ace import ERACE as ERACE
    from hypermnesia.methods.ewc import EWC as EWC
    from hypermnesia.methods.finetune import Finetune as Finetune
    from hypermnesia.methods.gdumb import GDumb as GDumb
    from hypermnesia.methods.hcr import HCR as HCR
    from hypermnesia.methods.hnet_replay import HNETReplay as HNETReplay
    from hypermnesia.methods.hnet_tir import HNETTIR as HNETTIR
    from hypermnesia.methods.icarl import ICaRL as ICaRL
    from hypermnesia.methods.latent_replay import LatentReplay as LatentReplay
    from hypermnesia.methods.lwf import LwF as LwF
    from hypermnesia.methods.si import SI as SI
    from hypermnesia.optim import OptimizerOptions as OptimizerOptions
    from hypermnesia.replay import MemoryOptions as MemoryOptions
    from hypermnesia.runs import Place as Place
    from hypermnesia.runs import execute as execute
    from hypermnesia.streams import Stream as Stream
    from hypermnesia.streams import StreamOptions as StreamOptions
    from hypermnesia.streams import Task as Task
    from hypermnesia.streams import from_tensors as from_tensors
    from hypermnesia.streams import load as load
    from hypermnesia.streams import open_source as open_source
    from hypermnesia.streams import permuted as permuted
    from hypermnesia.streams import rotated as rotated
    from hypermnesia.streams import split as split
    from hypermnesia.weights import WeightsOptions as WeightsOptions
    from hypermnesia.weights import model_for as model_for

__version__ = "0.1.0"
__all__ = [
    "AGEM",
    "Anchor",
    "Aux",
    "Batch",
    "ChunkedOptions",
    "DER",
    "DERPP",
    "DenseOptions",
    "Drift",
    "ER",
    "ERACE",
    "EWC",
    "EvaluateOptions",
    "Finetune",
    "Fit",
    "GDumb",
    "GenerativeOptions",
    "HCR",
    "HNETReplay",
    "HNETTIR",
    "HeadsOptions",
    "HypermnesiaError",
    "ICaRL",
    "LatentReplay",
    "Learner",
    "LowRankOptions",
    "LwF",
    "MaskOptions",
    "MemoryOptions",
    "Method",
    "Model",
    "Net",
    "OptimizerOptions",
    "Penalty",
    "Place",
    "Records",
    "RunFailed",
    "SI",
    "Seeds",
    "Stream",
    "StreamOptions",
    "Task",
    "TrainOptions",
    "WeightsOptions",
    "__version__",
    "build",
    "combine",
    "execute",
    "fit",
    "from_tensors",
    "load",
    "model_for",
    "open_source",
    "permuted",
    "resolve",
    "rotated",
    "split",
]

_HOME = {
    "AGEM": "methods.agem",
    "Anchor": "methods.anchor",
    "Aux": "method",
    "Batch": "method",
    "ChunkedOptions": "hyper",
    "DER": "methods.der",
    "DERPP": "methods.derpp",
    "DenseOptions": "hyper",
    "Drift": "methods.drift",
    "ER": "methods.er",
    "ERACE": "methods.er_ace",
    "EWC": "methods.ewc",
    "EvaluateOptions": "evaluate",
    "Finetune": "methods.finetune",
    "Fit": "fit",
    "GDumb": "methods.gdumb",
    "GenerativeOptions": "generative",
    "HCR": "methods.hcr",
    "HNETReplay": "methods.hnet_replay",
    "HNETTIR": "methods.hnet_tir",
    "HeadsOptions": "hyper",
    "HypermnesiaError": "errors",
    "ICaRL": "methods.icarl",
    "LatentReplay": "methods.latent_replay",
    "Learner": "method",
    "LowRankOptions": "hyper",
    "LwF": "methods.lwf",
    "MaskOptions": "hyper",
    "MemoryOptions": "replay",
    "Method": "method",
    "Model": "hyper",
    "Net": "method",
    "OptimizerOptions": "optim",
    "Penalty": "method",
    "Place": "runs",
    "Records": "fit",
    "RunFailed": "errors",
    "SI": "methods.si",
    "Seeds": "fit",
    "Stream": "streams",
    "StreamOptions": "streams",
    "Task": "streams",
    "TrainOptions": "fit",
    "WeightsOptions": "weights",
    "build": "experiment",
    "combine": "combined",
    "execute": "runs",
    "fit": "fit",
    "from_tensors": "streams",
    "load": "streams",
    "model_for": "weights",
    "open_source": "streams",
    "permuted": "streams",
    "resolve": "experiment",
    "rotated": "streams",
    "split": "streams",
}
"""Public name → the module below this one that defines it."""


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Package(ModuleType):
    """Keeps `hypermnesia.fit` the function: importing the module of that name would put the module there."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
