"""Sections that look inside: learning curves, task inference, task embeddings, masks, replay memory."""

import base64
import struct
from collections.abc import Callable, Sequence

import numpy as np

from hypermnesia.evaluation.schema import Masks, Matrix, Result
from hypermnesia.report import events
from hypermnesia.report.accuracy import mean_matrix, names_of_tasks, names_of_tests
from hypermnesia.report.blocks import Block, Figure, Section, key
from hypermnesia.report.draw.heat import heat_map
from hypermnesia.report.draw.plots import Series, columns, lines, point_map
from hypermnesia.report.draw.svg import fitted
from hypermnesia.report.load import Group, Note
from hypermnesia.report.summary import Summary

_MOST_IMAGES = 200
_LARGEST_IMAGE = 2**18  # bytes of a PNG file
_LARGEST_SIDE = 1024  # pixels
_CURVE_HEIGHT = 230.0


def learning_curves(summary: Summary, notes: list[Note]) -> Section:
    """Loss and its terms over all steps; what is wrong with an event log is added to `notes`."""
    figures = [figure for row in summary.rows if (figure := _curves(row.group, notes)) is not None]
    about = (
        "Loss and its terms over the steps of all tasks, averaged over the seeds in equal bins of steps; "
        "upright lines mark where a task begins. Values that are not finite are left out."
    )
    return Section("Learning curves", about, [Block("", figures)] if figures else [])


def _curves(group: Group, notes: list[Note]) -> Figure | None:
    logs = []
    for seed in group.seeds:
        logs.append(events.read(seed.directory / "events.jsonl"))
        if (problem := logs[-1].problem) is not None:
            notes.append(Note(seed.path, problem))
    found = {name: points for name, points in events.average(logs).items() if points}
    if not found:
        return None
    series = [
        Series(name, [(step, value, None) for step, value in points], index, thin=name != "loss")
        for index, (name, points) in enumerate(found.items())
    ]
    values = [value for points in found.values() for _, value in points]
    log = min(values) > 0 and max(values) / min(values) > 30
    picture = lines(
        series,
        f"Learning curves of {group.label}",
        "step",
        "value (logarithmic)" if log else "value",
        y=fitted(values, _CURVE_HEIGHT - 42, 28, log=log),
        marked=False,
        marks=logs[0].starts[1:],
        height=_CURVE_HEIGHT,
    )
    keys = [key(name, index, marked=False) for index, name in enumerate(found)]
    return Figure(group.label, picture, keys, f"{_seeds(len(logs))}")


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"mean of {count} seeds"


def confusion(summary: Summary) -> Section:
    """Which task the samples of every test set were taken for."""
    figures = []
    for row in summary.rows:
        found, result = _of_seeds(row.group, lambda r: r.infer.confusion if r.infer else ())
        if found:
            mean = mean_matrix(found)
            rows, guesses = names_of_tests(result, len(mean)), [str(i + 1) for i in range(len(mean[0]))]
            picture = heat_map(
                mean, f"Task inference of {row.group.label}", rows, guesses, "test of", "taken for task"
            )
            figures.append(Figure(row.group.label, picture, remark=_seeds(len(found))))
    about = (
        "Share in % of each test set's samples that were taken for each task after the last one was learned."
    )
    return Section("Task inference", about, [Block("", figures, scale=True)] if figures else [])


def _of_seeds(group: Group, part: Callable[[Result], Matrix]) -> tuple[list[Matrix], Result]:
    """That part of every seed's result, of those that have it in the shape of the first such seed."""
    found = [part(seed.result) for seed in group.seeds]
    found = [matrix for matrix in found if any(value is not None for row in matrix for value in row)]
    same = [matrix for matrix in found if (len(matrix), len(matrix[0])) == (len(found[0]), len(found[0][0]))]
    return same, group.first.result


def embeddings(summary: Summary) -> Section:
    """Task embeddings on their first two principal components."""
    figures = []
    for row in summary.rows:
        seed = next((seed for seed in row.group.seeds if len(seed.result.embeddings) > 1), None)
        if seed is None:
            continue
        points, shares = principal_plane(seed.result.embeddings)
        x_label, y_label = (
            f"component {i + 1} ({100 * share:.0f} % of variance)" for i, share in enumerate(shares)
        )
        names = names_of_tasks(seed.result, len(points), numbered=True)
        picture = point_map(points, names, f"Task embeddings of {row.group.label}", x_label, y_label)
        size = len(seed.result.embeddings[0])
        figures.append(Figure(row.group.label, picture, remark=f"seed {seed.result.seed}, {size} dimensions"))
    about = (
        "Embedding of every task, numbered in order of learning, projected on the two directions of "
        "largest variance (principal component analysis)."
    )
    return Section("Task embeddings", about, [Block("", figures)] if figures else [])


def principal_plane(
    embeddings: Sequence[Sequence[float]],
) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """T × size numbers -> T points on two principal components, and each one's share of the variance."""
    table = np.asarray(embeddings, dtype=float)
    centred = table - table.mean(0)
    largest = float(np.abs(centred).max()) or 1.0
    u, s, _ = np.linalg.svd(centred / largest, full_matrices=False)
    s = np.append(s, 0.0)[:2]  # of embeddings with one dimension the second component is 0
    u = np.column_stack([u, np.zeros(len(u))])[:, :2]
    total = float(((centred / largest) ** 2).sum()) or 1.0
    points = [(float(x), float(y)) for x, y in u * s * largest]
    return points, (float(s[0] ** 2 / total), float(s[1] ** 2 / total))


def masks(summary: Summary) -> Section:
    """Sparsity of every task's mask per tensor, and how much the masks of two tasks share."""
    sparse, shared = [], []
    for row in summary.rows:
        label = row.group.label
        tensors, found, result = _sparsity(row.group)
        if found:
            mean = mean_matrix(found)
            tasks = [str(i + 1) for i in range(len(mean[0]))]
            picture = heat_map(
                mean, f"Sparsity of masks of {label}", tensors, tasks, "tensor", "task", largest_cell=30
            )
            sparse.append(Figure(label, picture, remark=_seeds(len(found))))
        found, result = _of_seeds(row.group, lambda r: r.masks.overlap if r.masks else ())
        if found:
            mean = mean_matrix(found)
            rows, tasks = (
                names_of_tasks(result, len(mean), numbered=True),
                [str(i + 1) for i in range(len(mean[0]))],
            )
            picture = heat_map(mean, f"Overlap of masks of {label}", rows, tasks, "task", "task")
            shared.append(Figure(label, picture, remark=_seeds(len(found))))
    blocks = [
        Block("Sparsity: share of zeros in each tensor's mask", sparse, scale=True),
        Block("Overlap: what the masks of two tasks both keep, of what either keeps", shared, scale=True),
    ]
    return Section("Masks", "In %, by task.", [block for block in blocks if block.figures])


def _sparsity(group: Group) -> tuple[list[str], list[Matrix], Result]:
    first = next((s.result.masks for s in group.seeds if s.result.masks and s.result.masks.sparsity), Masks())
    tensors = list(first.sparsity)

    def rows(result: Result) -> Matrix:
        own = result.masks.sparsity if result.masks else {}
        return tuple(own[name] for name in tensors) if tensors and set(own) == set(tensors) else ()

    return tensors, *_of_seeds(group, rows)


def memory(summary: Summary, notes: list[Note]) -> Section:
    """What the replay memory held at the end: examples per class, and pictures of some."""
    blocks = []
    for row in summary.rows:
        seed = next((s for s in row.group.seeds if s.result.memory is not None), None)
        held = seed.result.memory if seed is not None else None
        if seed is None or held is None:
            continue
        total = sum(held.classes.values())
        figures = []
        if total:
            picture = columns(
                list(held.classes),
                list(held.classes.values()),
                f"Examples per class in the memory of {row.group.label}",
                "class",
                "examples",
            )
            counted = f"{_of(total, 'example')} of {_of(len(held.classes), 'class', 'classes')}"
            figures.append(
                Figure("Examples per class", picture, remark=f"{counted}, seed {seed.result.seed}")
            )
        images = [image for image in held.images[:_MOST_IMAGES] if is_png(image)]
        if (bad := len(held.images[:_MOST_IMAGES]) - len(images)) > 0:
            notes.append(Note(seed.path, f"memory.images: {bad} left out: not a small PNG picture in base64"))
        addresses = [f"data:image/png;base64,{image}" for image in images]
        if figures or addresses:
            blocks.append(Block(row.group.label, figures, images=addresses))
    return Section("Replay memory", "What the memory held when the last task had been learned.", blocks)


def _of(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def is_png(encoded: str) -> bool:
    """Whether this is base64 of a PNG file of at most 256 kB and 1024 × 1024 pixels, by its header."""
    if len(encoded) > _LARGEST_IMAGE * 4 // 3 + 4:
        return False
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return False
    if len(data) < 33 or data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        return False
    width, height = struct.unpack(">II", data[16:24])
    return 1 <= width <= _LARGEST_SIDE and 1 <= height <= _LARGEST_SIDE
