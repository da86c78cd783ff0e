"""Methods as the loop of DER's authors' code ran them, faults included, to show what a difference from their table comes from.

That loop (mammoth, 7ab9db9) never calls `begin_task`. So its LwF has no old answers and is SGD with weight decay:

    hypermnesia run split-mnist finetune net.init=xavier optimizer.name=sgd optimizer.lr=0.03 \\
        optimizer.weight_decay=0.001 train.batch_size=10 --seeds 0..9 --stack auto

and its iCaRL never trains on an exemplar:

    hypermnesia run split-mnist python:benchmarks.differences:UnrehearsedICaRL method.merged=true memory.size=500 \\
        net.init=xavier optimizer.name=sgd optimizer.lr=0.1 train.batch_size=10 --seeds 0..9 --stack auto
"""

from collections.abc import Sequence
from dataclasses import dataclass

from hypermnesia.methods.icarl import ICaRL
from hypermnesia.methods.learner import Learner, Phase


@dataclass(frozen=True, kw_only=True)
class UnrehearsedICaRL(ICaRL):
    """iCaRL whose exemplars make the class means and are never trained on. Herding and old answers are as they were."""

    def phases(self, learner: Learner) -> Sequence[Phase]:
        return (Phase(),)
