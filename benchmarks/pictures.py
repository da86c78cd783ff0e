"""Pictures for the methods' pages, drawn by the package: `python -m benchmarks.pictures [APPROACH ...]`.

The approach of each page learns split-digits with its settings there, seed 0. Its picture in docs/methods/pictures shows how
accurate it is on each task (columns) after each one learned (rows): with the task given where weights differ by task, and
else among all classes.
"""

import sys
from pathlib import Path

import hypermnesia as hm
from hypermnesia.experiments.approaches import APPROACHES

PAGES = Path(__file__).parents[1] / "docs/methods"
WORDS = {
    "meta-hnet": ("stream.classes_per_task=[6,2]", "stream.tasks=3", "stream.shots=5", "train.batch_size=128")
}


def drawn(approach: str) -> Path:
    """Learn, draw, and write the picture."""
    cfg = hm.resolve("split-digits", approach, ["train.threads=1", *WORDS.get(approach, ())])
    run = hm.build(cfg)
    for _ in run:
        pass
    scenario = "task" if cfg.sections["weights"].differs else "class"
    place = PAGES / "pictures"
    place.mkdir(exist_ok=True)
    return hm.Result(run, approach).plot(scenario).save(place / f"{approach}.svg")


def main() -> None:
    for name in sys.argv[1:] or sorted(path.stem for path in PAGES.glob("*.md") if path.stem in APPROACHES):
        print(drawn(name), flush=True)


if __name__ == "__main__":
    main()
