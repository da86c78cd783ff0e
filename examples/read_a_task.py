"""A classifier for new digits from five images of each, without a gradient step.

Run it: python examples/read_a_task.py (no data needed; some seconds). On the command line the same is

    hypermnesia run split-digits meta-hnet stream.classes_per_task=[6,2] stream.shots=5
"""

import hypermnesia as hm

WORDS = (
    "stream.classes_per_task=[6,2]",  # six digits to learn how to read, then two tasks of two digits
    "stream.tasks=3",
    "stream.shots=5",  # images of each later digit
    "train.iterations=100",  # of the first task; the later ones take none
    "train.batch_size=128",
    "train.threads=1",
)


def main() -> None:
    run = hm.build(hm.resolve("split-digits", "meta-hnet", WORDS))
    for _ in run:
        pass
    print(f"{run.records.steps} steps")
    for scenario, said in (("task", "task given"), ("class", "among all ten")):
        accuracies = run.records.rows[scenario][-1]
        print(f"{said}: " + " ".join(f"{100 * (a or 0):.1f}" for a in accuracies))


if __name__ == "__main__":
    main()
