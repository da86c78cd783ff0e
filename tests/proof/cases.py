"""The runs whose bits are the proof: command lines as people type them, which no refactoring may change.

Nothing here comes from elsewhere in the tests, so that a change of theirs changes no proof. DIR is the case's own
directory, DATA a folder with images of two classes.
"""

from dataclasses import dataclass

TINY = (
    *("stream.tasks=3", "stream.classes_per_task=2", "stream.samples_per_task=24", "net.hidden=[8]"),
    *("train.iterations=4", "train.batch_size=6", "evaluate.samples=6", "train.threads=1"),
)
"""Three tasks of two digits, four steps each."""
ANY_NET = tuple(word for word in TINY if not word.startswith("net."))
"""For another network than the multilayer perceptron."""
DOMAIN = tuple(word for word in TINY if not word.startswith("stream.classes"))
HYPER = ("generator=chunked", "generator.chunk=100", "generator.hidden=[6]", "generator.embedding=3")
DENSE = ("generator=dense", "generator.hidden=[6]", "generator.embedding=3")
HEADS = ("generator=heads", "generator.hidden=[6]", "generator.embedding=3")
LOWRANK = ("generator=lowrank", "generator.hidden=[6]", "generator.rank=1")
MEMORY = ("memory.size=12", "memory.batch_size=6")
VAE = (
    *("vae.latent=4", "vae.code=4", "vae.encoder=[8]", "vae.decoder=[8]"),
    *("replay.generator.chunk=100", "replay.generator.hidden=[6]", "replay.generator.embedding=3"),
)
CONV = ("net=resnet18", "net.width=2")


@dataclass(frozen=True)
class Case:
    """Command lines, run in turn; what they leave in DIR is hashed."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    stop_at: int | None = None
    """Ask the first command to stop when it has written so many checkpoints; it then exits with 130 or 143."""


def _run(
    name: str, approach: str, *words: str, bench: str = "split-digits", tiny: tuple[str, ...] = TINY
) -> Case:
    said = {word.partition("=")[0]: word for word in (*tiny, *words) if not word.startswith("--")}
    options = [word for word in words if word.startswith("--")]
    return Case(name, (("run", bench, approach, *said.values(), "--out", "DIR/run", *options),))


def _resumed(case: Case, stop_at: int) -> Case:
    [command] = case.commands
    first = (*command, "checkpoint.every=0")
    return Case(f"{case.name}-resumed", (first, ("resume", "DIR/run")), stop_at)


PLAIN = {
    "finetune": (),
    "joint": (),
    "separate": (),
    "frozen-heads": (),
    "hnet": HYPER,
    "phn": HEADS,
    "hypermask": DENSE,
    "hnet-replay": VAE,
    "hnet-tir": (*VAE, "inference.hidden=[8]", *HYPER),
    "er": MEMORY,
    "der": MEMORY,
    "derpp": MEMORY,
    "er-ace": MEMORY,
    "hcr": MEMORY,
    "agem": MEMORY,
    "gdumb": (*MEMORY[:1], "method.epochs=2", "method.batch_size=6", "method.cutmix=0.5"),
    "icarl": MEMORY,
    "ewc": (),
    "si": (),
    "lwf": (),
    "latent-replay": MEMORY,
}
"""Every approach with its small settings."""

_single = {name: _run(name, name, *words) for name, words in PLAIN.items()}
_VARIED = (
    _run("hnet-lookahead", "hnet", *HYPER, "drift.look_ahead=optimizer", "optimizer.name=adam"),
    _run("hnet-second-order", "hnet", *HYPER, "drift.look_ahead=sgd", "drift.second_order=true"),
    _run("hnet-direct", "hnet", *HYPER, "drift.form=direct", "drift.tasks_per_step=1"),
    _run("hnet-dense", "hnet", *DENSE, "weights.plastic_embeddings=true"),
    _run("hnet-lowrank", "hnet", *LOWRANK),
    _run("derpp-hyper", "derpp", "weights=hyper", *HYPER, *MEMORY),
    _run("hcr-mask", "hcr", "weights=mask", *DENSE, *MEMORY),
    _run("er-partial", "er", "weights=partial", *HEADS, *MEMORY),
    _run("lora", "finetune", "weights=lora", *LOWRANK),
    _run("ewc-online", "ewc", "method.mode=online", "weights=mask", *DENSE),
    _run("per-task-head", "er", "weights.head=per_task", *MEMORY),
    _run("entropy-domain", "hnet", *HYPER, bench="permuted-digits", tiny=DOMAIN),
    _run("permuted-si", "si", bench="permuted-digits", tiny=DOMAIN),
    _run("texts", "er", *MEMORY, bench="split-docstrings", tiny=ANY_NET),
    _run("fecam", "hnet", *HYPER, "infer=fecam"),
    _run("prototype", "hnet", *HYPER, "infer=prototype"),
    _run("agreement", "hnet", *HYPER, "infer=agreement"),
    _run("conv-phn", "phn", *HEADS, *CONV, tiny=ANY_NET),
    _run("conv-vit", "derpp", *MEMORY, "net=vit", "net.width=8", "net.depth=1", "net.heads=2", tiny=ANY_NET),
    _run("epochs", "derpp", *MEMORY, "train.iterations=none", "train.epochs=1.5", "train.clip=1.0"),
    _run("bf16", "er", *MEMORY, "train.precision=bf16"),
    _run("validation", "er", *MEMORY, "stream.validation=0.25", "evaluate.every=end"),
)
_RESUMED = tuple(
    _resumed(_single[name], stop)
    for name, stop in {"hnet": 5, "hypermask": 6, "hcr": 7, "hnet-tir": 13, "si": 6, "icarl": 5}.items()
)
_STACKED = tuple(
    _run(f"{name}-stacked", name, *PLAIN[name], "--stack=on", "--seeds=0,1")
    for name in ("finetune", "hnet", "derpp", "ewc")
)
_COMPILED = tuple(
    _run(f"{name}-compiled", name, *PLAIN[name], "train.compile=true", "train.iterations=12")
    for name in ("finetune", "hnet", "er")
)
_SWEEP = Case(
    "sweep",
    (
        ("sweep", "split-digits", "er", "optimizer.lr=0.01,0.1", *TINY, *MEMORY, "--final-seeds", "1",
         "--workers", "1", "--out", "DIR/sweep"),
    ),
)  # fmt: skip
_LEARN = Case(
    "learn",
    (
        *_run("", "er", *MEMORY, "train.iterations=8").commands,
        ("learn", "DIR/run", "DATA", "train.iterations=4", "--no-retest", "--out", "DIR/more"),
        ("predict", "DIR/more", "DATA/ring/0.png", "DATA/bar/1.png"),
        ("export", "DIR/run", "--task", "2", "--out", "DIR/export"),
    ),
)
_COMPARE = Case(
    "compare",
    (
        ("compare", "split-digits", "hnet", "er", *TINY, "memory.size=12", "--out", "DIR/compare"),
        ("report", "DIR/compare", "-o", "DIR/report.html"),
    ),
)

CASES = (*_single.values(), *_VARIED, *_RESUMED, *_STACKED, *_COMPILED, _SWEEP, _LEARN, _COMPARE)
assert len({case.name for case in CASES}) == len(CASES)
