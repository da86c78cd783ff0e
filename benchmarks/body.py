"""`python -m benchmarks.body DIR FILE.npz --data-dir DIR`: what a finished run's frozen body makes of its stream's images.

The arrays train_x, train_y, test_x and test_y, classes numbered in the order of the tasks, so that methods that train what comes
after the body can be compared on one and the same body: `hypermnesia run npz:FILE.npz APPROACH net=mlp net.hidden=[]
stream.tasks=20 stream.normalize=unit`. The run must have been without augmentation (`stream.augment=false`).
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import hypermnesia as hm
from hypermnesia.runs.directory import saved_config
from hypermnesia.weights.body import resting


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    learner = hm.open_run(given.directory).learner
    cut, begun = resting(learner.model), saved_config(given.directory)
    if cut is None:
        raise SystemExit(f"{given.directory}: no body of this run rests; take weights.cut=layer4, say")
    options = begun.sections["stream"]
    stream = hm.load(begun.benchmark, data_dir=given.data_dir, options=options)
    numbers = {c: number for number, c in enumerate(c for task in stream.tasks for c in task.classes)}
    arrays = {f"{part}_{name}": [] for part in ("train", "test") for name in "xy"}
    learner.model.eval()
    for task in stream.tasks:
        for name, part in (("train", task.train), ("test", task.test)):
            for positions in torch.arange(len(part)).split(250):
                raw, y = part.batch(positions)
                with torch.no_grad():
                    features = cut.body(learner.preprocess(raw, None))
                arrays[f"{name}_x"].append(features.float().flatten(1).numpy())
                arrays[f"{name}_y"].append(np.array([numbers[c] for c in y.tolist()]))
        print(task.name, flush=True)
    np.savez(given.file, **{name: np.concatenate(found) for name, found in arrays.items()})  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    main()
