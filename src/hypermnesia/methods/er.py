"""Experience replay: train on the batch and on remembered samples at once. The baseline that every memory must beat."""

from dataclasses import dataclass

from hypermnesia.methods.replay.method import ReplayMethod
from hypermnesia.methods.replay.rehearsal import MemoryOptions


@dataclass(frozen=True, kw_only=True)
class ER(ReplayMethod):
    """Cross-entropy, one mean over the batch and m remembered samples (Ratcliff 1990; Riemer et al. 2019,
    arXiv:1810.11910).

    L = 1/(B+m) · Σ CE(f(x), y) over batch and draw, in one forward pass, with all active outputs open; as the
    code of DER's authors (Mammoth).

    Differences: (1) on weights that depend on the task, each remembered sample passes its own task's network and
    its cross-entropy runs over that task's outputs.
    """

    memory: MemoryOptions = MemoryOptions()
    """The replay memory; published: reservoir, as many samples rehearsed as the batch holds."""
