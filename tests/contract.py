"""One row for each approach. What a row buys stands in test_contract.py and, for kills, in faults/.

A new method needs its row here and no test of its own for any of that.
"""

from dataclasses import dataclass, field, replace

TINY = (
    "stream.tasks=3",
    "stream.classes_per_task=2",
    "stream.samples_per_task=24",
    "net.hidden=[8]",
    "train.iterations=4",
    "train.batch_size=6",
    "evaluate.samples=6",
    "train.threads=1",
)
"""Three tasks of two digits, four steps each."""

GENERATORS: dict[str, tuple[str, ...]] = {
    "plain": (),
    "hyper": ("generator=chunked", "generator.chunk=100", "generator.hidden=[6]", "generator.embedding=3"),
    "partial": ("generator=heads", "generator.hidden=[6]", "generator.embedding=3"),
    "mask": ("generator=dense", "generator.hidden=[6]", "generator.embedding=3"),
    "lora": ("generator=lowrank", "generator.hidden=[6]", "generator.rank=1"),
}
"""Small generators for each kind of weights."""


@dataclass(frozen=True)
class Same:
    """A claim: with these `words` the row's approach does the same as `approach` with `others`."""

    words: tuple[str, ...]
    approach: str
    others: tuple[str, ...] = ()
    exact: bool = True
    """Whether to the last bit, or but for rounding."""


@dataclass(frozen=True)
class Row:
    approach: str
    words: tuple[str, ...] = ()
    """Settings beside `TINY`, as small."""
    same: tuple[Same, ...] = ()
    """What it equals, declared."""
    weights: tuple[str, ...] = ("plain", "hyper", "partial", "mask", "lora")
    """The kinds of weights that it runs on."""
    steps: int = field(default=12, kw_only=True)
    """Optimizer and other steps of a whole run with these words; 0 where nothing is trained."""
    benchmark: str = field(default="split-digits", kw_only=True)
    variant: str = field(default="", kw_only=True)
    """What tells it from the approach's own row."""

    @property
    def name(self) -> str:
        """What tests are called by."""
        return self.approach + self.variant


_MEMORY = ("memory.size=12", "memory.batch_size=6")
_HYPER = GENERATORS["hyper"]
_VAE = (
    *("vae.latent=4", "vae.code=4", "vae.encoder=[8]", "vae.decoder=[8]"),
    *("replay.generator.chunk=100", "replay.generator.hidden=[6]", "replay.generator.embedding=3"),
)
_AS_PHN = (
    *("generator=heads", "weights.plastic_embeddings=true"),
    *("drift.beta=0.5", "drift.look_ahead=sgd", *GENERATORS["partial"][1:]),
)
_READING = (
    *("generator=classwise", "generator.hidden=[6]", "generator.embedding=3", "generator.encoder=[5]"),
    *("generator.condition=set", "generator.init=plain"),
    *("net.hidden=[]", "method.shots=1", "method.base_tasks=2", "method.later=2"),
    *(
        "method.hold=0.1",
        "method.hold_samples=1",
        "method.rehearse=0.5",
        "method.ways=2",
        "generator.queries=2",
    ),
)

ROWS = (
    Row("finetune", same=(Same(("stream.tasks=1",), "joint", ("stream.tasks=1",)),)),
    Row("joint"),
    Row(
        "separate",
        same=(Same((), "finetune", ("weights.per_task=[*]", "weights.head=per_task")),),
        weights=("plain",),
    ),
    Row("frozen-heads", same=(Same((), "phn", ("weights.tail=stored",)),), weights=("partial",)),
    Row(
        "hnet",
        _HYPER,
        same=(
            Same(("drift.beta=0",), "hnet", ("drift=none", *_HYPER)),
            Same(("drift=none",), "finetune", ("weights=hyper", "drift=none", *_HYPER)),
            Same(("drift.form=direct", "drift.targets=recomputed"), "hnet", ("drift.form=direct", *_HYPER)),
            Same(
                ("generator=chunked", "generator.chunk=1000", "generator.chunk_embedding=0", "drift=none"),
                "hnet",
                ("generator=dense", "generator.hidden=[6]", "generator.embedding=3", "drift=none"),
                exact=False,
            ),
        ),
        weights=("hyper",),
    ),
    Row(
        "phn",
        GENERATORS["partial"],
        same=(Same(("weights.cut=none",), "hnet", _AS_PHN),),
        weights=("partial",),
    ),
    Row(
        "hypermask",
        GENERATORS["mask"],
        same=(
            Same(
                ("anchor.strength=0", "drift.beta=0"),
                "hypermask",
                ("anchor=none", "drift=none", *GENERATORS["mask"]),
            ),
        ),
        weights=("mask",),
    ),
    Row(
        "meta-hnet",
        _READING,
        same=(Same(("drift.beta=0",), "meta-hnet", ("drift=none", *_READING)),),
        weights=("hyper",),
        steps=10,
    ),
    Row("hnet-replay", _VAE, steps=24, weights=("plain",)),
    Row("hnet-tir", (*_VAE, "inference.hidden=[8]", *_HYPER), steps=32, weights=("hyper",)),
    Row("er", _MEMORY),
    Row("der", _MEMORY, same=(Same(("method.alpha=0",), "finetune", exact=False),)),
    Row("derpp", _MEMORY, same=(Same(("method.alpha=0", "method.beta=0"), "finetune", exact=False),)),
    Row("er-ace", _MEMORY, same=(Same(("stream.tasks=1",), "finetune", ("stream.tasks=1",)),)),
    Row(
        "mir",
        (*_MEMORY, "method.candidates=9"),
        same=(Same(("method.candidates=6",), "er", _MEMORY, exact=False),),
    ),
    Row("fdr", _MEMORY, same=(Same(("method.alpha=0",), "finetune", exact=False),)),
    Row("scr", (*_MEMORY, "weights.classifier=projected", "weights.projection=5")),
    Row("gem", _MEMORY[:1], same=(Same(("stream.tasks=1",), "finetune", ("stream.tasks=1",)),)),
    Row("gss", (*_MEMORY, "method.compared=4")),
    Row(
        "hal",
        (*_MEMORY, "method.anchor_steps=3"),
        same=(Same(("method.strength=0",), "er", (*_MEMORY, "memory.policy=ring")),),
    ),
    Row(
        "mer",
        (*_MEMORY, "method.batches=2", "method.beta=0.5"),
        same=(Same(("method.batches=1", "method.beta=1"), "er", _MEMORY),),
    ),
    Row("clser", _MEMORY),
    Row("xder", _MEMORY, weights=("plain",)),
    Row("xder-rpc", _MEMORY, weights=("plain",)),
    Row("lucir", _MEMORY, weights=("plain",), steps=20),
    Row("bic", (*_MEMORY, "method.held_out=0.3"), weights=("plain",)),
    Row("packnet", weights=("plain",), steps=24),
    Row(
        "hcr",
        _MEMORY,
        same=(Same(("method.alpha=0", "method.beta=0", "method.gamma=0", "method.rank=0"), "finetune"),),
    ),
    Row("agem", _MEMORY),
    Row("gdumb", (*_MEMORY[:1], "method.epochs=2", "method.batch_size=6", "method.cutmix=0.5"), steps=16),
    Row("icarl", _MEMORY),
    Row(
        "ewc",
        same=(
            Same(("method.strength=0",), "finetune"),
            Same((), "finetune", ("ewc.strength=180",)),
            Same(("ewc.strength=7",), "ewc", ("method.strength=7",)),
        ),
    ),
    Row("mas", same=(Same(("method.strength=0",), "finetune"), Same((), "finetune", ("mas.strength=1",)))),
    Row("si", same=(Same(("method.c=0",), "finetune"), Same((), "finetune", ("si.c=1",)))),
    Row("lwf", same=(Same(("method.alpha=0",), "finetune"),)),
    Row(
        "latent-replay",
        _MEMORY,
        same=(Same(("method.coefficient=0",), "finetune", ("weights.cut=auto",)),),
        weights=("plain", "hyper", "partial", "mask"),
    ),
    *(Row(name, ("net.hidden=[]",), weights=("plain",), steps=0) for name in ("ncm", "slda", "ridge")),
    Row("ranpac", ("net.hidden=[]", "method.width=20"), weights=("plain",), steps=0),
    Row("fecam", ("net.hidden=[]", "method.width=20"), weights=("plain",), steps=0),
)
BY_NAME = {row.approach: row for row in ROWS}

OF_NUMBERS = tuple(
    replace(BY_NAME[name], benchmark="split-diabetes", same=(), variant="-of-numbers")
    for name in (
        *("finetune", "joint", "separate", "frozen-heads", "hnet", "phn", "hypermask"),
        *("er", "derpp", "ewc", "si"),
    )
)
"""Those that learn numbers (task=regression), once more on a stream of these."""

FILLED_AT_TASK_ENDS = tuple(
    replace(
        BY_NAME[name],
        words=(*BY_NAME[name].words, "memory.fill=task"),
        same=(),
        variant="-filled-at-task-ends",
    )
    for name in ("er", "er-ace", "derpp")
)
"""Some of those whose memory can be filled once a task has ended, without logits, with a state of their own and with logits."""


def words_of(row: Row, *more: str) -> list[str]:
    """TINY, the row's own words and more; what is said again later replaces what was said before."""
    said = {word.partition("=")[0]: word for word in (*TINY, *row.words, *more)}
    if row.benchmark != "split-digits":
        said.pop("stream.classes_per_task")
    return list(said.values())
