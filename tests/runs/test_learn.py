"""A finished run learns further classes: what stays, what grows, and what is refused."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import hypermnesia as hm
from hypermnesia.commands.app import main
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments import features
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.nets.backbones import Backbone
from hypermnesia.runs import learn as module
from hypermnesia.runs.directory import Place, saved_config
from hypermnesia.runs.execute import execute_seeds, restored, resume, run_of
from hypermnesia.runs.export_whole import export_classifier
from hypermnesia.runs.learn import learn
from hypermnesia.runs.predict import predict, read_images
from hypermnesia.training import checkpoint
from hypermnesia.training.events import StepDone

SHORT = ["train.iterations=2", "train.threads=1", "net.hidden=[6]", "stream.tasks=2", "evaluate.samples=5"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two new classes: digits upside down ("owl") and transposed ("cat"), as colour pictures of 20 × 20 pixels."""
    folder, digits = tmp_path_factory.mktemp("pictures"), load_digits()
    for name, digit, change in (("owl", 2, np.flipud), ("cat", 7, np.transpose)):
        (folder / name).mkdir()
        for i, pixels in enumerate(digits.images[digits.target == digit][:60]):
            image = Image.fromarray((change(pixels) * 15.9).astype(np.uint8)).resize((20, 20))
            image.convert("RGB").save(folder / name / f"{i}.png")
    return folder


def finished(approach: str, out: Path, words: list[str] = SHORT, seeds: tuple[int, ...] = (0,)) -> Path:
    execute_seeds(hm.resolve("split-digits", approach, words), seeds, out)
    return out


def matrix(directory: Path, scenario: str = "task") -> list[list[float | None]]:
    result = json.loads((directory / "seed-0" / "result.json").read_text())
    return result["scenarios"][scenario]["matrix"]


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


# -------------------------------------------------------------------------------------------------- the whole thing


@pytest.mark.parametrize(
    ("approach", "words", "found_owls"),
    [
        ("hnet", ["infer=fecam"], 15),
        ("hnet", ["weights=lora", "infer=prototype"], 7),  # over a base that has learned nothing
        ("hypermask", ["infer=fecam"], 15),
    ],
)
def test_old_tasks_are_kept_and_predictions_range_over_all(
    approach: str, words: list[str], found_owls: int, pictures: Path, tmp_path: Path
):
    """Less than half a point of the old tasks' accuracy, with the settings that digits have by default."""
    words = [*words, "train.threads=1", "stream.tasks=3", "train.iterations=150"]
    run = finished(approach, tmp_path / "run", words)
    before = files(run)
    found = learn(run, str(pictures), retest=True)
    assert files(run) == before
    assert (found.directory, found.classes, found.known) == (
        tmp_path / f"run+{pictures.name}",
        ("cat", "owl"),
        (),
    )
    rows = matrix(found.directory)
    old, kept = rows[2][:3], rows[3][:3]
    assert abs(sum(old) - sum(kept)) / 3 < 0.005  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert rows[3][3] > 0.95  # pyright: ignore[reportOptionalOperand]
    assert [row[3] for row in rows[:3]] == [None] * 3
    owls = predict(found.directory / "seed-0", sorted((pictures / "owl").glob("*.png"))[:20])
    assert sum(p.answer == "owl" for p in owls) >= found_owls


def test_a_task_is_read_from_five_pictures_without_a_step(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """By the command, which then predicts over old and new classes."""
    words = ["stream.tasks=1", "stream.classes_per_task=8", "train.iterations=20", "train.batch_size=128"]
    run = finished("meta-hnet", tmp_path / "run", ["train.threads=1", *words])
    more = tmp_path / "more"
    with pytest.raises(SystemExit) as done:
        main(["learn", str(run), str(pictures), "--shots", "5", "--out", str(more)])
    assert done.value.code == 0, capsys.readouterr().err
    seed = more / "seed-0"
    whole = run_of(saved_config(seed), 0, Place(seed))  # with the samples, which a restored run does not have
    assert restored(seed).records.steps == 20 and len(whole.stream.tasks[1].train) == 10
    before, after = (restored(d / "seed-0").learner.model.stored() for d in (run, more))
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert matrix(more)[1][1] > 0.9  # pyright: ignore[reportOptionalOperand]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["predict", str(more), str(pictures / "owl"), "--json"])
    answers = [found["answer"] for found in json.loads(capsys.readouterr().out)]
    assert answers.count("owl") > 30, answers


def test_the_command(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run = finished("er", tmp_path / "run")
    with pytest.raises(SystemExit) as done:
        main(["learn", str(run), str(pictures), "train.iterations=3", "--out", str(tmp_path / "more")])
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    assert "new: cat, owl" in said.out
    rows = matrix(tmp_path / "more")
    assert len(rows) == 3 and None not in rows[2]
    before, after = (100 * sum(row[:2]) / 2 for row in rows[1:])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert (
        f"earlier tasks: task {before:.1f} % → {after:.1f} % (" in said.out
        and " forgotten), class " in said.out
    )
    with pytest.raises(SystemExit):
        main(["learn", str(run), str(pictures), "--out", str(tmp_path / "less"), "--no-retest"])
    assert "earlier tasks: not tested again (as asked)\n" in capsys.readouterr().out
    assert matrix(tmp_path / "less")[2][:2] == [None, None]


def test_earlier_tasks_are_tested_where_their_data_are(pictures: Path, tmp_path: Path):
    """Those of the benchmark and of what was learned since; where they have gone, it is said."""
    mine = tmp_path / "mine"
    shutil.copytree(pictures, mine)
    words = [word for word in SHORT if not word.startswith("stream")]
    cfg = hm.resolve(
        f"folder:{mine}", "er", [*words, "net=mlp", "stream.size=8", "stream.classes_per_task=1"]
    )
    execute_seeds(cfg, [0], tmp_path / "run")
    other = tmp_path / "other"
    for name, label in (("bat", "cat"), ("elk", "owl")):
        shutil.copytree(pictures / label, other / name)
    once = learn(tmp_path / "run", str(other), out=tmp_path / "once")
    assert once.untested == "" and set(once.kept) == {"task", "class"}
    twice = learn(once.directory, str(pictures), out=tmp_path / "twice", apart=True)
    rows = matrix(twice.directory)
    assert len(rows) == 4 and None not in rows[3]
    mean = [sum(row[:3]) / 3 for row in rows[2:]]  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert twice.kept["task"] == pytest.approx(tuple(mean))
    resume(twice.directory / "seed-0")
    shutil.rmtree(mine)
    later = learn(once.directory, str(pictures), out=tmp_path / "later", apart=True)
    assert "no such folder" in later.untested and later.kept == {}
    assert matrix(later.directory)[3][:3] == [None] * 3
    with pytest.raises(HypermnesiaError, match="no such folder"):
        learn(once.directory, str(pictures), out=tmp_path / "not", retest=True, apart=True)


def test_a_run_on_features_learns_and_predicts_through_its_frozen_network(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HYPERMNESIA_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    net = (
        torch.nn.Sequential(torch.nn.Conv2d(3, 20, 5, 2), torch.nn.ReLU(), torch.nn.Flatten())
        .eval()
        .requires_grad_(False)
    )
    tiny = Backbone("hf:tiny", net, 16, (0.5,) * 3, (0.5,) * 3, "0" * 64)
    monkeypatch.setattr(features, "open_backbone", lambda name, size=None: tiny)
    words = ["stream.features=hf:tiny", "stream.tasks=5", "train.threads=1"]
    execute_seeds(hm.resolve("split-digits", "ridge", words), [0], tmp_path / "run")
    found = learn(tmp_path / "run", str(pictures))
    assert found.classes == ("cat", "owl") and found.untested == ""
    assert abs(found.kept["class"][0] - found.kept["class"][1]) < 0.2
    owls = sorted((pictures / "owl").glob("*.png"))[:20]
    opened = hm.open_run(found.directory)
    answers = [p.answer for p in predict(found.directory / "seed-0", owls)]
    assert answers == opened.predict(owls) and answers.count("owl") > 10
    files = export_classifier(found.directory / "seed-0", tmp_path / "out")
    program = torch.export.load(files.program).module()
    raw = read_images(owls, (3, 16, 16))
    assert [opened.stream.class_names[c] for c in program(raw)[1].tolist()] == answers


@pytest.mark.parametrize(
    "approach", sorted(set(APPROACHES) - {"joint", "xder-rpc"})
)  # a simplex has its corners
def test_every_approach_goes_on(approach: str, pictures: Path, tmp_path: Path):
    found = learn(finished(approach, tmp_path / "run"), str(pictures), out=tmp_path / "more")
    run = restored(found.directory / "seed-0")
    head = run.learner.model.head
    assert head is not None
    assert (run.learner.model.num_tasks, len(head.classes), run.learner.num_classes) == (3, 3, 6)
    assert head.width == (6 if head.kind == "shared" else 2)


# ------------------------------------------------------------------------------------------------------ what stays


def test_everything_the_run_knew_is_the_start(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Seen before a step is made: old values bit for bit, the memory and the random generators; fresh rows behind."""
    run = finished("derpp", tmp_path / "run")
    old = restored(run / "seed-0")
    monkeypatch.setattr(module, "execute", lambda *_: {})
    monkeypatch.setattr(module, "summarise", lambda _: {})
    learn(run, str(pictures), out=tmp_path / "more")
    [path] = (tmp_path / "more" / "seed-0" / "checkpoint").glob("*.json")
    tensors = checkpoint.read(path)[0]
    saved, found = old.learner.model.stored(), {}
    for name, value in saved.items():
        found[name] = tensors[f"run.models.main.{name}"]
        torch.testing.assert_close(
            found[name][: len(value)] if value.ndim else found[name], value, rtol=0, atol=0
        )
    grown = {name for name, value in saved.items() if found[name].shape != value.shape}
    assert grown == {"target.head.weight", "target.head.bias"}
    assert found["target.head.weight"].shape == (6, 6)
    assert found["target.head.weight"][4:].abs().min() > 0
    memory = old.learner.state.memory
    assert torch.equal(tensors["run.state.memory.x"], memory.x)
    assert torch.equal(tensors["run.state.memory.logits"], memory.logits)
    assert torch.equal(tensors["run.rngs.method"], old.rngs["method"].get_state())


def test_it_can_be_resumed_and_learned_from_again(pictures: Path, tmp_path: Path):
    """Stopped in the middle and resumed, it ends as without the stop, bit for bit; then a fourth task is learned."""

    class Stop(Exception):
        pass

    def stopping(event: Any) -> None:
        if isinstance(event, StepDone) and event.step == 3:
            raise Stop

    @contextmanager
    def listen(*_: Any):
        yield stopping

    words = ["train.iterations=6", "checkpoint.every=0"]
    run = finished("hnet", tmp_path / "run")
    whole = learn(run, str(pictures), words, out=tmp_path / "whole")
    (run / "seed-0" / "events.jsonl").unlink()  # nothing but curves is read from it
    with pytest.raises(Stop):
        learn(run, str(pictures), words, out=tmp_path / "stopped", listen=listen)
    assert not (tmp_path / "stopped" / "seed-0" / "result.json").exists()
    resume(tmp_path / "stopped" / "seed-0")
    ends = [restored(d / "seed-0").learner.model.stored() for d in (whole.directory, tmp_path / "stopped")]
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    again = learn(whole.directory, str(pictures), out=tmp_path / "again", apart=True)
    assert (again.classes, len(matrix(again.directory))) == (("cat (2)", "owl (2)"), 4)
    known = learn(whole.directory, str(pictures), out=tmp_path / "known")
    assert (known.classes, known.known) == ((), ("cat", "owl"))


def test_every_seed_learns(pictures: Path, tmp_path: Path):
    run = finished("finetune", tmp_path / "run", seeds=(0, 3))
    found = learn(run, str(pictures))
    assert sorted(path.name for path in found.directory.glob("seed-*")) == ["seed-0", "seed-3"]
    one = learn(run / "seed-3", str(pictures), out=tmp_path / "one")
    assert [path.name for path in one.directory.glob("seed-*")] == ["seed-3"]


def test_words_change_how_it_is_trained_and_cut(pictures: Path, tmp_path: Path):
    run = finished("er", tmp_path / "run")
    with pytest.raises(HypermnesiaError, match=r"^stream\.shots is given twice; give it once$"):
        learn(run, str(pictures), ["shots=2", "stream.shots=3"], out=tmp_path / "more")
    found = learn(run, str(pictures), ["tasks=2", "train.epochs=1", "lr=0.5"], out=tmp_path / "more")
    end = restored(found.directory / "seed-0")
    assert len(end.learner.classes) == 4
    assert (end.train.epochs, end.train.iterations, end.optimizer_options.lr) == (1, None, 0.5)


# -------------------------------------------------------------------------------------------------- what is refused


def test_what_cannot_grow(pictures: Path, tmp_path: Path):
    three = tmp_path / "three"
    for name in ("a", "b", "c"):
        (three / name).mkdir(parents=True)
        for image in sorted((pictures / "owl").glob("*.png"))[:6]:
            (three / name / image.name).write_bytes(image.read_bytes())
    run = finished("hnet", tmp_path / "hnet")
    with pytest.raises(
        HypermnesiaError, match=r"has 3 classes, and the networks of this run have 2 outputs: bring the cl"
    ):
        learn(run, str(three), out=tmp_path / "more")
    assert not (tmp_path / "more").exists()
    assert len(learn(run, str(three), ["classes_per_task=1"], out=tmp_path / "more").classes) == 3
    shared = finished("hnet", tmp_path / "shared", [*SHORT, "head=shared"])
    with pytest.raises(
        HypermnesiaError, match="only a classifier that is one for all tasks can grow. Here these would ha"
    ):
        learn(shared, str(pictures))


def test_runs_that_cannot_go_on(pictures: Path, tmp_path: Path):
    with pytest.raises(
        HypermnesiaError, match="joint learns all tasks at once and none later; run it again over all data"
    ):
        learn(finished("joint", tmp_path / "joint"), str(pictures))
    run = finished("er", tmp_path / "run")
    for words, said in (
        (
            ["net.hidden=[7]"],
            "learn goes on with the run's own net; only settings of these can be other ones now: ",
        ),
        (
            ["stream.size=9"],
            "learn goes on with the run's own stream; .* and of the new data: stream.tasks, stream.cl",
        ),
        (["memory.size=9"], r"the run's own memory: memory\.\* cannot be changed now"),
        (["speed=9"], "unknown key 'speed'"),
    ):
        with pytest.raises(HypermnesiaError, match=said):
            learn(run, str(pictures), words)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    with pytest.raises(HypermnesiaError, match="there exists already and holds something else; give another"):
        learn(run, str(pictures), out=tmp_path / "there")


def test_an_attempt_that_failed_goes_on_when_it_is_repeated(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    run, words = finished("er", tmp_path / "run"), [*SHORT, "checkpoint.every=0"]
    whole = learn(run, str(pictures), words, out=tmp_path / "whole")
    save, left = checkpoint.save, [4]

    def full(*args: Any, **options: Any) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return save(*args, **options)

    with monkeypatch.context() as patch, pytest.raises(HypermnesiaError, match="No space left on device"):
        patch.setattr(checkpoint, "save", full)
        learn(run, str(pictures), words, out=tmp_path / "more")
    with pytest.raises(HypermnesiaError, match="more exists already and holds something else"):
        learn(run, str(pictures), ["train.iterations=3"], out=tmp_path / "more")
    again = learn(run, str(pictures), words, out=tmp_path / "more")
    assert again.classes == whole.classes and again.summary["scenarios"] == whole.summary["scenarios"]


def test_an_unfinished_run(pictures: Path, tmp_path: Path):
    class Stop(Exception):
        pass

    def stopping(event: Any) -> None:
        if isinstance(event, StepDone) and event.task == 1:
            raise Stop

    @contextmanager
    def listen(*_: Any):
        yield stopping

    with pytest.raises(Stop):
        execute_seeds(hm.resolve("split-digits", "er", SHORT), (0,), tmp_path / "run", listen=listen)
    with pytest.raises(HypermnesiaError, match="seed-0 is not finished; go on with: hypermnesia resume"):
        learn(tmp_path / "run", str(pictures))


def test_without_a_sound_checkpoint_it_never_starts_from_nothing(pictures: Path, tmp_path: Path):
    found = learn(finished("er", tmp_path / "run"), str(pictures), out=tmp_path / "more")
    seed = found.directory / "seed-0"
    (seed / "result.json").unlink()
    for path in (seed / "checkpoint").iterdir():
        path.write_bytes(b"")
    with pytest.raises(
        HypermnesiaError, match="has no sound checkpoint, and the data of its first tasks are not at hand"
    ):
        resume(seed)


def test_changed_data_are_noticed(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "pictures"
    for image in [*sorted(pictures.glob("*/*.png"))]:
        (copy / image.parent.name).mkdir(parents=True, exist_ok=True)
        (copy / image.parent.name / image.name).write_bytes(image.read_bytes())
    found = learn(finished("er", tmp_path / "run"), str(copy), out=tmp_path / "more")
    (found.directory / "seed-0" / "result.json").unlink()
    next((copy / "owl").glob("*.png")).unlink()
    with pytest.raises(
        HypermnesiaError, match=r"was begun on other data \(stream .*, now .*\); bring them back"
    ):
        resume(found.directory / "seed-0")
