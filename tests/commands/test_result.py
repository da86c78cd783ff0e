"""The Python road: what `fit`, `run` and `open_run` give, and what can be done with it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small
import torch
from PIL import Image

import hypermnesia as hm
from hypermnesia.commands import result as road
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import Stream
from hypermnesia.methods.closed_form import NCM
from hypermnesia.training.serialise import pack
from hypermnesia.weights.options import Plain

WORDS = ["train.iterations=60", "train.threads=1"]
TRAIN = hm.TrainOptions(iterations=40, threads=1)
HNET = hm.combine(hm.Finetune(), hm.Drift(beta=0.01))


@pytest.fixture(scope="module")
def stream() -> Stream:
    return small.split_stream()


@pytest.fixture(scope="module")
def plain(stream: Stream) -> hm.Result:
    return hm.fit(small.mlp, stream, hm.ER(memory=20), TRAIN)


@pytest.fixture(scope="module")
def written(stream: Stream) -> hm.Result:
    return hm.fit(small.model(stream, "hyper"), stream, HNET, TRAIN)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> hm.Result:
    return hm.run("split-digits", "er", WORDS, out=tmp_path_factory.mktemp("run"))


def samples(stream: Stream) -> tuple[torch.Tensor, list[str]]:
    raw, y = stream.tests[0].batch(torch.arange(len(stream.tests[0])))
    return raw, [stream.class_names[c] for c in y.tolist()]


# ------------------------------------------------------------------------------------------------------- what it tells


def test_a_result_tells_what_was_measured(plain: hm.Result):
    rows = plain.rows["class"]
    mean = sum(value for value in rows[2] if value is not None) / 3
    assert plain.metrics["class"]["average_accuracy"] == pytest.approx(mean)
    assert "matrix" not in plain.metrics["class"]
    assert repr(plain).startswith("Result of split · er: 3 tasks, task ") and f"{100 * mean:.1f} %" in repr(
        plain
    )
    text = plain.summary().splitlines()
    assert text[0] == "split · er" and text[1].split() == ["in", "%", "task-incremental", "class-incremental"]
    assert any(line.startswith("average accuracy") and f"{100 * mean:.2f}" in line for line in text)


def test_a_notebook_shows_a_table_and_a_picture(plain: hm.Result, tmp_path: Path):
    html = plain._repr_html_()
    assert "<th>class</th>" in html and "data:image/svg+xml;base64," in html
    saved = plain.plot("class").save(tmp_path / "matrix.svg").read_text()
    assert saved.startswith("<svg ") and 'xmlns="http://www.w3.org/2000/svg"' in saved
    assert "--paper" in saved and 'id="hatch"' in saved and "body {" not in saved
    with pytest.raises(
        HypermnesiaError, match="there is no scenario 'domain' to plot; there are: task, class"
    ):
        plain.plot("domain")


def test_what_a_stream_and_a_model_say_of_themselves(stream: Stream, written: hm.Result):
    head, *tasks = repr(stream).splitlines()
    assert head == "Stream split: 3 tasks, 6 classes, images of 1×4×4"
    assert tasks[0] == "  Task 0 (0, 1): 2 classes, 24 samples, 10 for tests" and len(tasks) == 3
    assert len(repr(small.split_stream(30)).splitlines()) == 11
    first, role, by = repr(written.learner.model).splitlines()
    assert first == "Model of Sequential: 154 parameters, 2 outputs (per_task), 3 tasks"
    assert role.split() == ["generated", "154"] and by.startswith("  written by Chunked: ")


# ------------------------------------------------------------------------------------------------------------ answers


def test_predictions_range_over_all_classes_or_those_of_a_task(plain: hm.Result, stream: Stream):
    raw, names = samples(stream)
    answers = plain.learner.answer(raw).classes.tolist()
    assert plain.predict(raw) == [stream.class_names[c] for c in answers]
    assert plain.predict(raw.numpy()[:, 0], task=0).count(names[0]) > 0
    assert set(plain.predict(raw, task=1)) <= {"2", "3"}


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (
            torch.zeros(2, 3, 4, 4, dtype=torch.uint8),
            r"samples are uint8 \(2, 3, 4, 4\); this run has learned uint8 \(N, 1, 4, 4\)",
        ),
        (np.zeros((2, 16), np.float32), r"samples are float32 \(2, 16\); this run has learned uint8"),
        (["a text"], "strings are no samples; pass files as Path"),
    ],
)
def test_samples_of_another_kind_are_told(plain: hm.Result, x: object, said: str):
    with pytest.raises(HypermnesiaError, match=said):
        plain.predict(x)


def test_a_task_that_was_not_learned_is_told_as_it_was_counted(plain: hm.Result, stream: Stream):
    for task in (-1, 3):
        with pytest.raises(
            HypermnesiaError, match=f"there is no task {task}: this run has learned the tasks 0 to 2"
        ):
            plain.predict(stream.tasks[0].test.batch(torch.arange(2))[0], task=task)


def test_files_are_read(on_disk: hm.Result, tmp_path: Path):
    image = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "a.png")
    found = on_disk.predict(tmp_path / "a.png")
    assert found == on_disk.predict([tmp_path / "a.png"]) == on_disk.predict(torch.from_numpy(image)[None])


# ------------------------------------------------------------------------------------------------- kept, and opened again


@pytest.mark.parametrize("kind", ["plain", "written"])
def test_what_fit_gave_is_saved_and_opened(kind: str, stream: Stream, tmp_path: Path, request):
    result: hm.Result = request.getfixturevalue(kind)
    result.save(tmp_path / "kept")
    opened = hm.open_run(tmp_path / "kept", small.mlp)
    assert opened.rows == result.rows and opened.summary() == result.summary()
    raw, _ = samples(stream)
    torch.testing.assert_close(opened.answer(raw).scores, result.answer(raw).scores, rtol=0, atol=0)
    with pytest.raises(HypermnesiaError, match="kept exists already: save to another directory"):
        result.save(tmp_path / "kept")
    with pytest.raises(HypermnesiaError, match=r"no code: pass the network as well, open_run\(DIR, net\)"):
        hm.open_run(tmp_path / "kept")
    with pytest.raises(HypermnesiaError, match="the checkpoint does not fit this model main"):
        hm.open_run(
            tmp_path / "kept",
            lambda outputs: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, outputs)),
        )


def test_a_save_that_fails_leaves_nothing(stream: Stream, tmp_path: Path):
    result = hm.fit(small.mlp, stream, hm.Finetune(), TRAIN)
    with torch.no_grad():
        next(result.learner.model.parameters()).fill_(torch.nan)
    with pytest.raises(hm.RunFailed, match="is not finite"):
        result.save(tmp_path / "kept")
    assert not list(tmp_path.iterdir())


def test_a_run_on_disk_is_opened_copied_and_recognised(on_disk: hm.Result, tmp_path: Path):
    assert on_disk.directory is not None and on_disk.directory.name == "seed-0"
    again = hm.run("split-digits", "er", WORDS, out=on_disk.directory.parent)
    assert again.seconds == on_disk.seconds  # it was not trained again
    on_disk.save(tmp_path / "copy")
    assert hm.open_run(tmp_path / "copy").figures == on_disk.figures
    with pytest.raises(HypermnesiaError, match="says itself which network and method it has"):
        hm.open_run(tmp_path / "copy", small.mlp)
    with pytest.raises(HypermnesiaError, match="holds no run"):
        hm.open_run(tmp_path)


def test_of_several_seeds_one_is_opened(on_disk: hm.Result, tmp_path: Path):
    on_disk.save(tmp_path / "two")
    (tmp_path / "two" / "seed-0").rename(tmp_path / "two" / "seed-1")
    on_disk.save(tmp_path / "one")
    (tmp_path / "one" / "seed-0").rename(tmp_path / "two" / "seed-0")
    with pytest.raises(
        HypermnesiaError, match=r"holds 2 seeds \(seed-0, seed-1\); open one of them: .*two/seed-0"
    ):
        hm.open_run(tmp_path / "two")


# ------------------------------------------------------------------------------------------------------------ going on


@pytest.mark.parametrize("kind", ["plain", "written"])
def test_a_result_learns_on_and_stays_as_it_is(kind: str, tmp_path: Path, stream: Stream, request):
    """New classes behind the old ones; a shared classifier has grown; from what was opened, too."""
    result: hm.Result = request.getfixturevalue(kind)
    before = {name: value.clone() for name, value in result.learner.model.stored().items()}
    more = hm.split(small.source(2, seed=3), tasks=1, preprocess=stream.preprocess)
    found = result.learn(more, apart=True)
    assert found.stream.class_names[6:] == ("0 (2)", "1 (2)") and len(found.rows["task"]) == 4
    assert found.rows["task"][3][3] > 0.8  # pyright: ignore[reportOptionalOperand]
    assert found.rows["task"][:3] == [[*row, None] for row in result.rows["task"]]
    assert len(found.learner.seen_classes) == 8
    for name, value in result.learner.model.stored().items():
        assert torch.equal(value, before[name])
    result.save(tmp_path / "kept")
    later = hm.open_run(tmp_path / "kept", small.mlp).learn(more, apart=True)
    assert later.rows["task"][3] == [None, None, None, found.rows["task"][3][3]]


@pytest.mark.parametrize("method", [hm.ER(memory=9), NCM(), hm.combine(hm.Finetune(), hm.EWC())])
def test_what_is_learned_on_twice_begins_twice_where_the_result_ended(method: Any, stream: Stream):
    """Memories and sums are written into, and generators of random numbers go on, while the new run trains."""
    result = hm.fit(small.mlp, stream, method, replace(TRAIN, iterations=3))
    state = pack({"state": result.learner.state}, before := {}, "run")
    more = hm.split(small.source(2, seed=3), tasks=1, preprocess=stream.preprocess)
    first, second = (result.learn(more, apart=True).learner.model.stored() for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert pack({"state": result.learner.state}, after := {}, "run") == state
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("condition", ["prototypes", "similar"])
def test_embeddings_that_samples_decide_are_kept_and_learned_on(
    condition: Any, stream: Stream, tmp_path: Path
):
    writer = replace(small.WRITERS["hyper"], condition=condition, support=3)
    result = hm.fit(small.model(stream, "hyper", writer=writer), stream, HNET, replace(TRAIN, iterations=3))
    result.save(tmp_path / "kept")
    opened, raw = hm.open_run(tmp_path / "kept", small.mlp), samples(stream)[0]
    assert torch.equal(opened.answer(raw).scores, result.answer(raw).scores)
    found = opened.learn(hm.split(small.source(2, seed=3), tasks=1, preprocess=stream.preprocess), apart=True)
    own = found.learner.model.generator
    assert own is not None and own.num_tasks == 4 and own.support == 3
    assert (own.reader is None) == (condition == "similar") == (own.answered is not None)


def test_a_model_that_has_learned_is_not_trained_from_its_first_task_again(
    written: hm.Result, stream: Stream
):
    with pytest.raises(
        HypermnesiaError, match=r"^Fit: this model has 3 tasks already, of an earlier run: make"
    ):
        hm.fit(written.learner.model, stream, HNET, TRAIN)


@pytest.mark.parametrize("classifier", ["cosine", "projected"])
def test_a_classifier_that_need_not_grow_learns_on_as_it_is(classifier: Any, stream: Stream):
    model = hm.model_for(stream, small.mlp, Plain(classifier=classifier))
    result = hm.fit(model, stream, hm.Finetune(), replace(TRAIN, iterations=2))
    before = {name: value.clone() for name, value in model.stored().items()}
    again = replace(stream, tasks=stream.tasks[:1], tests=stream.tests[:1])
    found = result.learn(again, train=hm.TrainOptions(iterations=1, threads=1))
    assert len(found.learner.classes) == 4
    assert {n: v.shape for n, v in found.learner.model.stored().items()} == {
        name: value.shape for name, value in before.items()
    }


def test_a_run_on_disk_learns_from_a_folder(on_disk: hm.Result, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 150)):
        (tmp_path / "more" / name).mkdir(parents=True)
        for i in range(8):
            image = rng.integers(low, low + 100, (8, 8), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "more" / name / f"{i}.png")
    on_disk.save(tmp_path / "copy")
    (tmp_path / "copy" / "seed-0").rename(tmp_path / "mine")  # a directory may be called anything
    mine = hm.open_run(tmp_path / "mine")
    found = mine.learn(tmp_path / "more", ["train.iterations=5"], out=tmp_path / "later")
    assert found.directory == tmp_path / "later" / "seed-0"
    assert {"dark", "light"} < set(found.stream.class_names)
    with pytest.raises(HypermnesiaError, match="a run on disk learns from a folder"):
        on_disk.learn(tmp_path / "more", train=TRAIN)


def test_what_cannot_be_learned_from_is_told(plain: hm.Result, stream: Stream):
    with pytest.raises(HypermnesiaError, match="a run of fit learns from a stream"):
        plain.learn("my/images")
    grey = hm.split(
        hm.from_tensors(*[torch.zeros(4, 1, 5, 5, dtype=torch.uint8), torch.arange(4) % 2] * 2), tasks=1
    )
    with pytest.raises(
        HypermnesiaError, match=r"samples are images of shape \(1, 5, 5\), those of split images of shape"
    ):
        plain.learn(grey)


# ------------------------------------------------------------------------------------------------------- what fit takes


def test_fit_takes_a_network_and_a_class_of_torch(stream: Stream):
    short = hm.TrainOptions(iterations=3, threads=1)
    torch.manual_seed(0)
    net = small.mlp(6)
    one = hm.fit(net, stream, hm.ER(memory=20), short, optimizer=torch.optim.SGD)
    torch.manual_seed(0)
    other = hm.fit(
        hm.model_for(stream, small.mlp(6)),
        stream,
        hm.ER(memory=hm.MemoryOptions(size=20)),
        short,
        optimizer=hm.OptimizerOptions(name="sgd", lr=1e-3),
    )
    assert one.rows == other.rows
    for a, b in zip(one.learner.model.parameters(), other.learner.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("device", "said"), [("cuda", "torch sees no CUDA device here"), ("gpu", "expected cpu or cuda")]
)
def test_a_device_that_is_not_there_is_told(device: str, said: str, stream: Stream, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HypermnesiaError, match=f"^device='{device}': {said}"):
        hm.fit(small.mlp, stream, hm.Finetune(), TRAIN, device=device)
    with pytest.raises(HypermnesiaError, match=f"^device='{device}': {said}"):
        hm.build(hm.resolve("split-digits", "er"), device=device)


def test_fit_says_what_it_takes_and_why_a_step_cannot_be(stream: Stream):
    short = hm.TrainOptions(iterations=3, batch_size=1, threads=1)
    with pytest.raises(HypermnesiaError, match=r"fit: expected a Stream, got str; hm.load\(NAME\)"):
        hm.fit(small.mlp, "split-digits", hm.Finetune(), short)  # pyright: ignore[reportArgumentType]
    normed = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 6))
    with pytest.raises(HypermnesiaError, match="fit: a step gave a batch norm a single sample"):
        hm.fit(normed, stream, hm.Finetune(), short)


def test_a_bar_where_somebody_looks(stream: Stream, capsys: pytest.CaptureFixture[str], monkeypatch):
    short = hm.TrainOptions(iterations=2, threads=1)
    hm.fit(small.mlp, stream, hm.Finetune(), short)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(road, "watched", lambda page: True)
    hm.fit(small.mlp, stream, hm.Finetune(), short)
    assert "split · finetune: task 3/3 done" in capsys.readouterr().out
    hm.fit(small.mlp, stream, hm.Finetune(), short, progress=False)
    assert capsys.readouterr().out == ""
