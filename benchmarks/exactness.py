"""What exact sums cost: ridge's sums of 50,000 features of 1,280 numbers in whole numbers, and in float32 and float64.

Run it: python -m benchmarks.exactness (a minute)
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from hypermnesia.core import exact
from hypermnesia.core.rng import generator

SAMPLES, WIDTH, CLASSES, CHUNK = 50_000, 1280, 100, 1000


def exactly(x: Tensor, y: Tensor) -> Tensor:
    moments = exact.empty(CLASSES, WIDTH)
    for rows, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
        exact.add(moments, exact.quantised(rows, 12), labels)
    return moments.gram


def rounding(dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
    def summed(x: Tensor, y: Tensor) -> Tensor:
        gram, sums = torch.zeros(WIDTH, WIDTH, dtype=dtype), torch.zeros(CLASSES, WIDTH, dtype=dtype)
        for rows, labels in zip(x.split(CHUNK), y.split(CHUNK), strict=True):
            h = rows.to(dtype)
            gram += h.T @ h
            sums.index_add_(0, labels, h)
        return gram

    return summed


def main() -> None:
    rng = generator(0, "exactness")
    x = torch.randn(SAMPLES, WIDTH, generator=rng).relu()
    y = torch.randint(0, CLASSES, (SAMPLES,), generator=rng)
    ways = {"exact": exactly, "float64": rounding(torch.float64), "float32": rounding(torch.float32)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, way in ways.items():
            started = time.process_time()
            way(x, y)
            times[name].append(time.process_time() - started)
    for name, taken in times.items():
        print(f"{name:8} {statistics.median(taken):5.2f} CPU s, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
