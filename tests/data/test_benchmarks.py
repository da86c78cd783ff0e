import re
from pathlib import Path

import pytest
import torch
from data.conftest import gray_images, write_parquet
from data.sources.test_folder import fill

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import BENCHMARKS, StreamOptions, from_tensors, load

CLASSES = {"mnist": 10, "fashion-mnist": 10, "cifar10": 10, "cifar100": 100, "tiny-imagenet": 200}
TASKS = {  # tasks, classes of the stream, side
    "split-digits": (5, 10, 8),
    "permuted-digits": (10, 10, 8),
    "split-mnist": (5, 10, 28),
    "permuted-mnist": (10, 10, 32),
    "permuted-mnist-20": (20, 10, 28),
    "rotated-mnist": (20, 10, 28),
    "mnist-360": (27, 9, 28),
    "cir-mnist": (5, 10, 28),
    "split-fashion-mnist": (5, 10, 28),
    "split-cifar10": (5, 10, 28),
    "split-cifar100": (10, 100, 28),
    "split-cifar100-20x5": (20, 100, 28),
    "split-cifar100-5x20-fecam": (5, 100, 28),
    "split-cifar10-100": (6, 60, 28),
    "noisy-cifar": (4, 20, 28),
    "cir-slot-cifar100": (10, 100, 28),
    "cir-sampling-cifar100": (None, 100, 28),
    "cir-unbalanced-cifar100": (None, 100, 28),
    "split-tiny-imagenet": (10, 200, 28),
    "split-tiny-imagenet-20x10": (20, 200, 32),
    "split-tiny-imagenet-40x5": (40, 200, 28),
}


@pytest.fixture(scope="module")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All known data sets, six training images and one test image of each class."""
    folder = tmp_path_factory.mktemp("data")
    for name, classes in CLASSES.items():
        images = gray_images(min(classes, 50), side=28)
        images = [images[c % 50] for c in range(classes)]
        write_parquet(folder / name / "train.parquet", images * 6, [*range(classes)] * 6)
        write_parquet(folder / name / "test.parquet", images, [*range(classes)])
    return folder


def test_every_benchmark_is_in_the_table():
    texts = {"split-docstrings", "split-diabetes"}  # see test_texts, test_regression
    assert set(TASKS) | texts == set(BENCHMARKS)


@pytest.mark.parametrize("name", TASKS)
def test_shapes_of_the_named_benchmarks(name: str, tiny_data: Path):
    options = StreamOptions(normalize="unit")  # the tiny data are grey
    stream = load(name, data_dir=tiny_data, options=options)
    tasks, classes, side = TASKS[name]
    assert tasks is None or len(stream.tasks) == tasks
    assert stream.num_classes == classes
    assert stream.shape == (1, side, side)
    assert stream.name == name
    raw, y = stream.tasks[-1].train.batch(torch.arange(2))
    assert stream.preprocess(raw).shape == (2, 1, side, side)
    assert set(y.tolist()) <= set(stream.tasks[-1].classes)
    assert load(name, data_dir=str(tiny_data), options=options).sha256 == stream.sha256


def test_published_orders_and_first_tasks(tiny_data: Path):
    unit = StreamOptions(normalize="unit")
    fecam = load("split-cifar100-5x20-fecam", data_dir=tiny_data, options=unit, seed=9)
    assert fecam.class_names[:10] == ("87", "0", "52", "58", "44", "91", "68", "97", "51", "15")
    assert sorted(map(int, fecam.class_names)) == list(range(100))
    both = load("split-cifar10-100", data_dir=tiny_data, options=unit)
    assert both.class_names == (*map(str, range(10)), *map(str, range(50)))
    padded, plain = (load(name, data_dir=tiny_data) for name in ("permuted-mnist", "permuted-mnist-20"))
    image = padded.tasks[0].train.images.x[:1]
    assert torch.equal(
        padded.tasks[0].train.batch(torch.tensor([0]))[0], torch.nn.functional.pad(image, [2] * 4)
    )
    assert plain.tasks[0].name == "permutation 0"
    assert load("split-cifar100", data_dir=tiny_data, options=unit).class_names == (*map(str, range(100)),)


def test_the_seed_is_the_runs_or_the_streams_own():
    runs = [load("permuted-digits", seed=seed).sha256 for seed in (0, 1)]
    options = StreamOptions(seed=1)
    assert runs[0] != runs[1] == load("permuted-digits", seed=0, options=options).sha256
    assert load("split-digits", seed=0).sha256 == load("split-digits", seed=1).sha256  # nothing random in it


def test_options_change_the_stream():
    asked = StreamOptions(
        tasks=3, classes_per_task=3, order="seed", size=12, samples_per_task=60, validation=0.25, blurry=0.1
    )
    stream = load("split-digits", options=asked)
    assert [len(task.train) + len(task.validation or []) for task in stream.tasks] == [60] * 3
    assert [len(task.validation or []) for task in stream.tasks] == pytest.approx([15] * 3, abs=5)
    assert stream.shape == (1, 12, 12)
    assert not stream.boundaries
    assert [task.classes[:3] for task in stream.tasks] == [(0, 1, 2), (3, 4, 5), (6, 7, 8)]
    assert load("permuted-digits", options=StreamOptions(first_permuted=False)).tasks[0].name == "unpermuted"
    assert load("split-digits", options=StreamOptions(augment=True)).preprocess.crop == 1


def test_how_classes_return_is_a_matter_of_options(tiny_data: Path):
    def loaded(name: str = "cir-sampling-cifar100", **more: float):
        return load(name, data_dir=tiny_data, options=StreamOptions(normalize="unit", **more))  # pyright: ignore[reportArgumentType]

    always = loaded(tasks=8, samples_per_task=300, occurrence=1.0, recurrence=1.0)
    assert [len(task.classes) for task in always.tasks] == [100] * 8
    assert [len(task.train) for task in always.tasks] == [300] * 8, (
        "more than capped: three of each class are drawn"
    )
    once = loaded(tasks=8, samples_per_task=10, occurrence=1.0, recurrence=0.0)
    assert len(once.tasks) == 1
    rare = loaded(tasks=8, occurrence=1.0, recurrence=1.0, rare_classes=0.25, rare_recurrence=0.0)
    assert [len(task.classes) for task in rare.tasks] == [100, *[75] * 7]
    unbalanced = loaded("cir-unbalanced-cifar100", samples_per_task=100, rare_recurrence=0.0, occurrence=1.0)
    assert [len(task.classes) for task in unbalanced.tasks][:3] == [100, 90, 90]


def test_classes_of_repeating_mnist_are_normalised_as_published(tiny_data: Path):
    assert load("cir-mnist", data_dir=tiny_data).preprocess.mean == (0.1307,)


@pytest.mark.parametrize("name", ["rotated-mnist", "mnist-360"])
def test_published_streams_turn_to_the_nearest_pixel_and_say_so(name: str, tiny_data: Path):
    assert "nearest" in BENCHMARKS[name].description
    published, smooth = (
        load(name, data_dir=tiny_data, options=StreamOptions(interpolation=kind))
        for kind in (None, "bilinear")
    )
    kinds = [stream.manifest()["transform"]["interpolation"] for stream in (published, smooth)]
    assert kinds == ["nearest", "bilinear"]
    assert published.sha256 != smooth.sha256


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        (
            "split-digits",
            {"tasks": 6},
            "6 tasks of 2 classes need 12 classes, digits gives 10; the most possible is 5",
        ),
        (
            "permuted-digits",
            {"augment": True},
            "permuted-digits has no stream.augment; its options: stream.blurry",
        ),
        ("permuted-digits", {"order": "seed"}, "permuted-digits has no stream.order"),
        ("mnist-360", {"tasks": 3}, "mnist-360 has no stream.tasks"),
        (
            "cir-sampling-cifar100",
            {"rare_classes": 0.1, "normalize": "unit"},
            "stream.rare_classes alone says nothing; give stream.rare_classes and stream.rare_recurrence",
        ),
        ("split-digits", {"recurrence": 0.1}, "split-digits has no stream.recurrence"),
        ("split-digits", {"interpolation": "nearest"}, "split-digits has no stream.interpolation"),
        ("split-mnits", {}, "unknown benchmark 'split-mnits'; did you mean 'split-mnist'?"),
        ("folder:", {}, "folder:PATH"),
    ],
)
def test_bad_requests(name: str, options: dict, text: str, tiny_data: Path):
    with pytest.raises(HypermnesiaError, match=re.escape(text)):
        load(name, data_dir=tiny_data, options=StreamOptions(**options))


def test_a_folder_of_ones_own_is_a_split_stream(tmp_path: Path):
    for c in "abcd":
        fill(tmp_path / c, 5)
    stream = load(f"folder:{tmp_path}")
    assert [task.name for task in stream.tasks] == ["a, b", "c, d"]
    assert len(load(f"folder:{tmp_path}", options=StreamOptions(tasks=4)).tasks) == 4
    with pytest.raises(HypermnesiaError, match="5 tasks need 5 classes, .* gives 4: at most 4 tasks"):
        load(f"folder:{tmp_path}", options=StreamOptions(tasks=5))


def test_real_mnist(data_dir: Path):
    stream = load("split-mnist", data_dir=data_dir)
    assert [len(task.train) for task in stream.tasks] == [12665, 12089, 11263, 12183, 11800]
    assert [len(part) for part in stream.tests] == [2115, 2042, 1874, 1986, 1983]
    images = stream.tasks[0].train.images
    assert images.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.x.double().mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert images.x.double().std() / 255 == pytest.approx(0.3081, abs=1e-4)


def test_jitter_and_autoaugment_join_what_the_benchmark_augments(tiny_data):
    x = torch.zeros(8, 3, 8, 8, dtype=torch.uint8)
    colour = from_tensors(x, torch.arange(8) % 4, x, torch.arange(8) % 4)
    more = StreamOptions(tasks=2, augment=True, jitter=0.25, autoaugment="cifar10")
    preprocess = load(colour, options=more).preprocess
    assert (preprocess.crop, preprocess.flip, preprocess.jitter) == (1, True, 0.25)
    assert preprocess.autoaugment == "cifar10"
    fecam = load("split-cifar100-5x20-fecam", data_dir=tiny_data, options=StreamOptions(normalize="unit"))
    assert fecam.preprocess.jitter == 63 / 255
    with pytest.raises(
        HypermnesiaError, match="stream.autoaugment changes colours; the images of .* have 1 channels"
    ):
        load("split-digits", options=StreamOptions(autoaugment="cifar10"))
