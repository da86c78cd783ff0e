"""From a configuration to a run that is ready to train."""

from dataclasses import fields, replace
from pathlib import Path

from torch import nn

from hypermnesia.data import Stream, load
from hypermnesia.experiments.features import through
from hypermnesia.experiments.penalties import JOINING, PENALTIES
from hypermnesia.experiments.pretrained import start_from
from hypermnesia.experiments.resolve import Config, SeedOptions, chosen
from hypermnesia.methods.base import Method, Penalty
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.nets import Factory, Pretrained
from hypermnesia.nets.options import check_kind
from hypermnesia.nets.pretrained import Input
from hypermnesia.training import anywhere
from hypermnesia.training.guards import device_named
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import Seeds, TrainOptions
from hypermnesia.weights import Model
from hypermnesia.weights.build import model_for

# -------------------------------------------------------------------------------------------------------- building


def build(
    cfg: Config, seed: int = 0, data_dir: str | Path | None = None, device: str = "cpu", sealed: bool = False
) -> Fit:
    """The run of a configuration with one seed, ready to be iterated over."""
    anywhere.hold(cfg.sections["train"], device)  # before data are decoded and weights drawn
    stream_seed = _seeds(cfg.sections["seeds"], seed)["stream"]
    options = cfg.sections["stream"]
    stream = load(
        cfg.benchmark, data_dir=data_dir, seed=stream_seed, options=options, through=through(options)
    )
    return assemble(cfg, stream, seed, device, sealed)


def assemble(cfg: Config, stream: Stream, seed: int = 0, device: str = "cpu", sealed: bool = False) -> Fit:
    """As `build`, over a stream that is already at hand."""
    parts, stream = cfg.sections, stream.to(device_named(device))
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
        _train_options(cfg, len(stream.tasks)),
        parts["optimizer"],
        parts["evaluate"],
        parts.get("infer"),
        Seeds(init=seeds["init"], order=seeds["order"], method=seeds["method"]),
        tested_on=stream,
        sealed=sealed,
        device=device,
    )


def _train_options(cfg: Config, tasks: int) -> TrainOptions:
    """Joint training takes as many steps as its rivals take in all: iterations are per task, and it has one."""
    train: TrainOptions = cfg.sections["train"]
    if not cfg.approach.joined or train.iterations is None:
        return train
    return replace(train, iterations=tasks * train.iterations)


def build_method(cfg: Config) -> Method:
    """The method with the penalties that were asked for and those that the weights bring along."""
    own = cfg.sections["method"]
    penalties = [cfg.sections[name] for name in (*JOINING, *PENALTIES) if name in cfg.sections]
    return combine(Finetune(), own, *penalties) if isinstance(own, Penalty) else combine(own, *penalties)


def build_network(cfg: Config, stream: Stream, init_seed: int) -> Model:
    """The target network with its weights, as `Fit` takes it."""
    weights = cfg.sections["weights"]

    def net(outputs: int) -> nn.Module:
        options = cfg.sections["net"]
        if not isinstance(options, Factory):
            check_kind(chosen(cfg.sections)["net.name"], options, stream.kind, stream.shape)
        built = options.build(stream.shape, outputs)
        if isinstance(options, Pretrained):
            front = built.get_submodule("input")
            assert isinstance(front, Input)
            front.given = stream.preprocess.mean, stream.preprocess.std
        if weights.base is not None:
            start_from(built, weights.base, weights.base_sha256)
        return built

    ours = not isinstance(cfg.sections["net"], Factory)
    return model_for(stream, net, weights, seed=init_seed, tried=ours)


def without_base(cfg: Config) -> Config:
    """The configuration for reading a checkpoint, which holds the network's values itself."""
    return replace(cfg, sections={**cfg.sections, "weights": replace(cfg.sections["weights"], base=None)})


def _seeds(options: SeedOptions, seed: int) -> dict[str, int]:
    own = {f.name: getattr(options, f.name) for f in fields(options)}
    return {name: seed if value is None else value for name, value in own.items()}
