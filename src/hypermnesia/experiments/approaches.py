"""The approaches by name: a method, the weights it runs on, and settings that hold on every benchmark.

Settings published for one benchmark stand in recipes/, as data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from importlib import import_module
from typing import Any

from hypermnesia.core.errors import HypermnesiaError, unknown
from hypermnesia.core.registry import PREFIX, imported
from hypermnesia.methods.base import Method, Penalty


@dataclass(frozen=True)
class Approach:
    """What a name on the command line stands for."""

    name: str
    summary: str
    method: str
    """`module:Class` under hypermnesia.methods, or `python:package.module:Class` for one of the user's own. A penalty stands
    for fine-tuning under it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings that make the approach what it is; the user's own words override them."""
    joined: bool = False
    """Whether all tasks are learned at once."""
    bound: str = ""
    """`lower` or `upper` for the controls that comparisons always show."""

    def method_class(self) -> type[Method] | type[Penalty]:
        """The method's dataclass, or the penalty's."""
        if self.method.startswith(PREFIX):
            return _own_method(self.method)
        module, _, name = self.method.partition(":")
        return getattr(import_module(f"hypermnesia.methods.{module}"), name)


NO_HIDDEN = {"net.name": "mlp", "net.hidden": ()}
"""A network whose classifier's inputs are the samples themselves."""
_ALL = (
    Approach("finetune", "plain training on one task after another", "finetune:Finetune", bound="lower"),
    Approach("joint", "all tasks at once", "finetune:Finetune", joined=True, bound="upper"),
    Approach(
        "separate",
        "one network per task",
        "finetune:Finetune",
        {"weights.per_task": ["*"], "weights.head": "per_task"},
    ),
    Approach(
        "frozen-heads",
        "body trained with the first task and frozen, a stored head per task: cannot forget",
        "finetune:Finetune",
        {"weights.kind": "partial", "weights.tail": "stored"},
    ),
    Approach(
        "hnet",
        "a hypernetwork writes all weights from a task embedding (von Oswald et al. 2020)",
        "finetune:Finetune",
        {"weights.kind": "hyper"},
    ),
    Approach(
        "phn",
        "a hypernetwork writes the later layers over a frozen body (Hemati et al. 2023)",
        "finetune:Finetune",
        {
            "weights.kind": "partial",
            "weights.plastic_embeddings": True,
            "drift.beta": 0.5,
            "drift.look_ahead": "sgd",
        },
    ),
    Approach(
        "hypermask",
        "a hypernetwork writes semi-binary masks for a target that itself adapts (Książek & Spurek 2023)",
        "finetune:Finetune",
        {"weights.kind": "mask", "weights.plastic_embeddings": True},
    ),
    Approach(
        "hnet-replay",
        "replay from an autoencoder that a hypernetwork writes: HNET+R (von Oswald et al. 2020)",
        "hnet_replay:HNETReplay",
    ),
    Approach(
        "hnet-tir",
        "hnet, and a task-inference network trained by such replay: HNET+TIR (von Oswald et al. 2020)",
        "hnet_tir:HNETTIR",
        {"weights.kind": "hyper", "infer.name": "tir"},
    ),
    Approach(
        "meta-hnet",
        "a hypernetwork that reads a task's samples and writes its classifier, trained over episodes",
        "meta_hnet:MetaHNet",
        {
            "weights.kind": "hyper",
            "weights.generator.name": "classwise",
            "weights.generator.condition": "prototypes",
            "weights.generator.init": "nearest-mean",
            "infer.name": "logit",
            **NO_HIDDEN,
        },
    ),
    Approach("er", "experience replay", "er:ER"),
    Approach("der", "dark experience replay: replay of logits (Buzzega et al. 2020)", "der:DER"),
    Approach("derpp", "DER++: replay of logits and labels (Buzzega et al. 2020)", "der:DERPP"),
    Approach("er-ace", "replay with asymmetric cross-entropy (Caccia et al. 2022)", "er_ace:ERACE"),
    Approach(
        "fdr",
        "answers on remembered samples stay near those at their task's end (Benjamin et al. 2019)",
        "fdr:FDR",
    ),
    Approach(
        "scr",
        "supervised contrastive replay, nearest class mean (Mai et al. 2021)",
        "scr:SCR",
        {"weights.classifier": "projected"},
    ),
    Approach("mir", "replay of what the coming step would harm most (Aljundi et al. 2019)", "mir:MIR"),
    Approach("gem", "gradients that oppose no task in memory (Lopez-Paz & Ranzato 2017)", "gem:GEM"),
    Approach("gss", "replay of samples whose gradients differ (Aljundi et al. 2019)", "gss:GSS"),
    Approach("hal", "replay, and anchors that steps may not move (Chaudhry et al. 2021)", "hal:HAL"),
    Approach("mer", "meta-experience replay: Reptile over past and present (Riemer et al. 2019)", "mer:MER"),
    Approach("clser", "replay taught by two slow means of the network (Arani et al. 2022)", "clser:CLSER"),
    Approach(
        "xder", "DER++ with logits updated and future outputs prepared (Boschini et al. 2022)", "xder:XDER"
    ),
    Approach(
        "xder-rpc",
        "xder with a fixed simplex as classifier (Boschini et al. 2022)",
        "xder:XDER",
        {"weights.classifier": "simplex", "method.variant": "rpc"},
    ),
    Approach(
        "lucir",
        "cosines, kept features, a margin to old classes (Hou et al. 2019)",
        "lucir:LUCIR",
        {"weights.classifier": "cosine"},
    ),
    Approach("bic", "replay, distillation, and a correction of new logits (Wu et al. 2019)", "bic:BiC"),
    Approach(
        "packnet",
        "each task keeps its largest weights (Mallya & Lazebnik 2018)",
        "packnet:PackNet",
        {"weights.head": "per_task", "weights.per_task": ["head.*"]},
    ),
    Approach("hcr", "hierarchical correlations replay (Wang et al. 2022)", "hcr:HCR"),
    Approach("agem", "gradients projected to agree with the memory's (Chaudhry et al. 2019)", "agem:AGEM"),
    Approach(
        "gdumb",
        "a balanced memory, trained on from scratch (Prabhu et al. 2020)",
        "gdumb:GDumb",
        {"train.clip": 10.0},
    ),
    Approach("icarl", "herded exemplars, distillation, nearest mean (Rebuffi et al. 2017)", "icarl:ICaRL"),
    Approach(
        "ewc",
        "elastic weight consolidation, separate or online (Kirkpatrick et al. 2017)",
        "penalties.ewc:EWC",
    ),
    Approach("mas", "memory aware synapses (Aljundi et al. 2018)", "penalties.mas:MAS"),
    Approach("si", "synaptic intelligence (Zenke et al. 2017)", "penalties.si:SI"),
    Approach(
        "lwf", "learning without forgetting: distillation from the old network (Li & Hoiem 2016)", "lwf:LwF"
    ),
    Approach(
        "latent-replay",
        "replay of features at the cut of a frozen body (Pellegrini et al. 2020)",
        "latent_replay:LatentReplay",
        {"weights.cut": "auto"},
    ),
    Approach("ncm", "closed form: nearest class mean of frozen features", "closed_form:NCM", NO_HIDDEN),
    Approach(
        "slda",
        "closed form: streaming linear discriminant analysis (Hayes & Kanan 2020)",
        "closed_form:SLDA",
        NO_HIDDEN,
    ),
    Approach(
        "ridge",
        "closed form: ridge regression on exact sums (ACIL, Zhuang et al. 2022)",
        "closed_form:Ridge",
        NO_HIDDEN,
    ),
    Approach(
        "ranpac",
        "closed form: ridge on random features (RanPAC, McDonnell et al. 2023)",
        "closed_form:RanPAC",
        NO_HIDDEN,
    ),
    Approach(
        "fecam",
        "closed form: nearest mean by each class's covariance (Goswami et al. 2023)",
        "closed_form:FeCAM",
        NO_HIDDEN,
    ),
)

APPROACHES: dict[str, Approach] = {approach.name: approach for approach in _ALL}


def _own_method(reference: str) -> type[Method]:
    found = imported(reference, reference)
    if not (isinstance(found, type) and issubclass(found, Method) and is_dataclass(found)):
        raise HypermnesiaError(
            f"{reference}: expected a dataclass that inherits from hypermnesia.Method, got {found!r}"
        )
    return found


def approach(name: str) -> Approach:
    """The approach called `name`, or the method of the user's own that `python:package.module:Class` names; an error
    that suggests the nearest name otherwise."""
    if name.startswith(PREFIX):
        said = (_own_method(name).__doc__ or "").split("\n\n")[0]
        return Approach(name, " ".join(said.split()), name)
    if name not in APPROACHES:
        raise unknown("approach", name, [*APPROACHES, "python:MODULE:CLASS"])
    return APPROACHES[name]
