"""What makes rows of one benchmark comparable: the same budget, network, evaluation and data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from hypermnesia.report.load import Group

BOUNDS = {"joint": "upper bound", "finetune": "lower bound"}
"""Approaches that frame a comparison and do not compete: never the best, never what others differ from."""

_TOPICS = {
    "budget": ("train.iterations", "train.epochs", "train.batch_size", "train.select"),
    "network": ("net.", "weights.base"),
    "evaluation": ("evaluate.every", "evaluate.samples"),
    "data": ("stream.",),
}
"""Settings by what they decide; a name that ends in a dot stands for a section."""
_TOLD_ELSEWHERE = ("weights.base_sha256", "stream.seed")
_MACHINE = ("processor", "device", "threads")
"""What environment.json says of the machine. Where it differs, times are not compared."""


@dataclass(frozen=True)
class Differing:
    """A setting in which sets of rows differ: its value by the letter of the set."""

    topic: str
    key: str
    values: Mapping[str, str]

    def __str__(self) -> str:
        """`budget: train.epochs is 1 in A and none in B, C`."""
        sets_of: dict[str, list[str]] = {}
        for letter, value in self.values.items():
            sets_of.setdefault(value, []).append(letter)
        told = [f"{value} in {', '.join(letters)}" for value, letters in sets_of.items()]
        return f"{self.topic}: {self.key} is {', '.join(told[:-1])} and {told[-1]}"


def sets(groups: Sequence[Group]) -> tuple[list[str], list[Differing]]:
    """The letter of every group's set, in the order of `groups`, and in what the sets differ.

    Groups of one set can be compared; where all can, the letters are empty. Bounds stand beside those whose settings they
    share, whatever their stream: joint training may have one of its own.
    """
    found = {key: topic for g in groups for key in g.first.settings if (topic := _topic(key))}
    settings = [{key: group.first.settings.get(key, "absent") for key in found} for group in groups]
    keys = [key for key in found if len({own[key] for own in settings}) > 1]
    streams, known, letters = _streams(groups), list[tuple[list[str], int]](), [""] * len(groups)
    for i in sorted(range(len(groups)), key=lambda i: groups[i].approach in BOUNDS):  # bounds come last
        own, bound = [settings[i][key] for key in keys], groups[i].approach in BOUNDS
        place = next(
            (n for n, (s, t) in enumerate(known) if s == own and (bound or t == streams[i])), len(known)
        )
        if place == len(known):
            known.append((own, streams[i]))
        letters[i] = _letter(place)
    if len(known) < 2:
        return [""] * len(groups), []
    first = {letter: letters.index(letter) for letter in sorted(set(letters), key=lambda x: (len(x), x))}
    shown = [key for key in keys if key == "net.name" or not ("net.name" in keys and key.startswith("net."))]
    shown.sort(key=lambda key: list(_TOPICS).index(found[key]))
    differing = [
        Differing(found[k], k, {letter: settings[i][k] for letter, i in first.items()}) for k in shown
    ]
    if len(set(streams)) > 1 and not any(one.topic == "data" for one in differing):
        values = {letter: f"number {streams[i] + 1}" for letter, i in first.items()}
        differing.append(Differing("data", "the stream of equal seeds", values))
    return letters, differing


def same_machine(groups: Sequence[Group]) -> bool:
    """Whether all seeds ran on one kind of processor or accelerator with one number of threads."""
    seeds = [seed for group in groups for seed in group.seeds]
    return len({tuple(seed.environment.get(key) for key in _MACHINE) for seed in seeds}) == 1


def _topic(key: str) -> str | None:
    if key in _TOLD_ELSEWHERE:
        return None
    for topic, names in _TOPICS.items():
        if any(key.startswith(name) if name.endswith(".") else key == name for name in names):
            return topic
    return None


def _streams(groups: Sequence[Group]) -> list[int]:
    """For every group a number of its stream: equal where no seed that two groups share was given other data."""
    known: list[dict[int, str]] = []
    numbers = []
    for group in groups:
        own = {} if group.approach in BOUNDS else {s.result.seed: s.result.stream_sha256 for s in group.seeds}
        fits = (n for n, seen in enumerate(known) if all(seen.get(k, sha) == sha for k, sha in own.items()))
        number = next(fits, len(known))
        if number == len(known):
            known.append({})
        known[number].update(own)
        numbers.append(number)
    return numbers


def _letter(place: int) -> str:
    return ascii_uppercase[place] if place < 26 else f"Z{place - 24}"
