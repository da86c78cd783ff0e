"""Texts instead of images: which module of Python's standard library does a docstring come from?

Run it: python examples/texts.py (no data needed; about half a minute). Your own texts are a folder with a sub-folder of
.txt files for each class, or parquet files with a text and a label column:

    hypermnesia run folder:my/texts er net=text-transformer stream.tasks=3
"""

import hypermnesia as hm

SHORT = ["stream.tasks=3", "train.iterations=150", "net.width=32", "net.depth=1", "net.vocabulary=4000"]


def main() -> None:
    stream = hm.load("split-docstrings", options=hm.StreamOptions(tasks=3))
    sizes = ", ".join(f"{task.name} ({len(task.train)})" for task in stream.tasks)
    print(f"tasks: {sizes}; {stream.shape[0]} tokens each")
    for approach, words in (("finetune", []), ("er", []), ("hnet", ["weights=lora", "drift.beta=1"])):
        run = hm.build(hm.resolve("split-docstrings", approach, [*words, *SHORT]))
        for _ in run:
            pass
        rows = {name: matrix[-1] for name, matrix in run.records.rows.items()}
        means = {name: sum(row) / len(row) for name, row in rows.items()}
        print(f"{approach:8} " + "  ".join(f"{name} {100 * mean:.1f}" for name, mean in means.items()))


if __name__ == "__main__":
    main()
