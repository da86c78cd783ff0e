"""Hyper-parameter search that cannot cheat: trials never see a test part, and the winner says what it cost.

```python
from hypermnesia.sweep import Local, sweep

result = sweep("permuted-digits", "hnet", ["drift.beta=0,0.001,0.01,0.1"], "runs/beta", engine=Local(workers=2))
print(result.best, result.final)
```
"""

from hypermnesia.evaluation.schema import Trial as TrialRecord
from hypermnesia.sweep.engines.base import Engine, WorkerLost
from hypermnesia.sweep.engines.local import Local
from hypermnesia.sweep.engines.ray import Ray
from hypermnesia.sweep.engines.slurm import Slurm
from hypermnesia.sweep.plan import SweepOptions
from hypermnesia.sweep.record import SweepResult
from hypermnesia.sweep.run import Stopped, sweep

__all__ = [
    "Engine",
    "Local",
    "Ray",
    "Slurm",
    "Stopped",
    "SweepOptions",
    "SweepResult",
    "TrialRecord",
    "WorkerLost",
    "sweep",
]
