"""Checkpoints: exact resume, damaged and hostile files, full disks."""

import errno
import hashlib
import itertools
import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import small
import torch
from exact import assert_equal_runs, finished, resumed, some_stops
from torch import nn

from hypermnesia.core.errors import HypermnesiaError, RunFailed
from hypermnesia.core.optim import OptimizerOptions
from hypermnesia.data import Preprocess, Stream, from_tensors, split
from hypermnesia.data.build import MOST_TASKS
from hypermnesia.methods.combine import combine
from hypermnesia.methods.finetune import Finetune
from hypermnesia.methods.penalties.drift import Drift
from hypermnesia.methods.penalties.si import SI
from hypermnesia.training import checkpoint
from hypermnesia.training.checkpoint import CheckpointError, Damaged, load, read, save, write
from hypermnesia.training.events import StepDone, TaskEnded
from hypermnesia.training.loop import Fit
from hypermnesia.training.options import TrainOptions
from hypermnesia.weights.options import Hyper


def noisy(outputs: int) -> nn.Module:
    return small.mlp(outputs, dropout=0.5)


def make(**options: Any) -> Fit:
    return small.run(small.split_stream(augment=True), **options)


def repainted() -> Stream:
    x = torch.randint(256, (60, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    source = from_tensors(x, torch.arange(60) % 6, x[:12], torch.arange(12) % 6)
    return split(source, tasks=3, preprocess=Preprocess(crop=1, jitter=0.2, autoaugment="cifar10"))


def repainted_net(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, outputs))


def saved(directory: Path, stops: int = 2, run: Fit | None = None) -> tuple[Fit, list[Path]]:
    """A run saved after each of its first steps; (run, JSON files, oldest first)."""
    run = run or make(weights="hyper", method=combine(Finetune(), Drift()))
    for event in run:
        if isinstance(event, StepDone):
            save(run, directory, {"events": event.total_steps})
            if event.total_steps == stops:
                break
    return run, sorted(directory.glob("*.json"))


def loaded(directory: Path) -> tuple[dict[str, Any] | None, list[str], Fit]:
    """(extra, what was reported, the run) of a fresh run."""
    run, said = make(weights="hyper", method=combine(Finetune(), Drift())), []
    return load(run, directory, said.append), said, run


# ------------------------------------------------------------------------------------------------------ exact resume

MOMENTUM = OptimizerOptions(name="sgd", lr=0.05, momentum=0.9, nesterov=True, reset="never")
RUNS: dict[str, Callable[[], Fit]] = {
    "dropout and augmentation": lambda: make(net=noisy),
    "jitter and a policy": lambda: small.run(repainted(), net=repainted_net),
    "momentum that is never reset": lambda: make(optimizer=MOMENTUM),
    "rmsprop, cosine": lambda: make(optimizer=OptimizerOptions(name="rmsprop", lr=0.01, schedule="cosine")),
    "epochs": lambda: make(train=TrainOptions(epochs=1.5, batch_size=10)),
    "batch norm": lambda: make(net=small.conv),
    "batch norm per task": lambda: make(net=small.conv, weights="hyper", method=combine(Finetune(), Drift())),
    "body and tail": lambda: make(net=small.conv, weights="partial", method=combine(Finetune(), Drift())),
    "masks": lambda: make(weights="mask", method=combine(Finetune(), Drift(look_ahead="optimizer"))),
    "recomputed targets": lambda: make(
        weights=Hyper(plastic_embeddings=True, embedding_init="previous"),
        method=combine(Finetune(), Drift(form="direct", targets="recomputed", tasks_per_step=1)),
    ),
    "fisher": lambda: make(weights="hyper", method=combine(Finetune(), Drift(fisher=True, fisher_samples=4))),
    "channels last, path integrals": lambda: make(
        net=small.conv, method=combine(Finetune(), SI()), train=TrainOptions(iterations=4, channels_last=True)
    ),
    "bf16": lambda: make(train=TrainOptions(iterations=4, precision="bf16")),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_resumed_run_is_the_run_that_was_never_stopped(name: str, tmp_path: Path) -> None:
    """Stopped at its first step, at a task's end and in between, several times over; equal to the last bit."""
    expected, places = finished(RUNS[name])
    run = resumed(RUNS[name], some_stops(places, 2, seed=len(name)), tmp_path)
    assert_equal_runs(run, expected)


def test_the_thread_count_is_part_of_a_run(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run = small.run(train=TrainOptions(iterations=5, threads=2))
    saved(tmp_path, 1, run)
    fresh = small.run(train=TrainOptions(iterations=5))
    load(fresh, tmp_path, pytest.fail)
    assert {torch.get_num_threads() for _ in fresh} == {2}
    other = small.run(train=TrainOptions(iterations=5, threads=1))
    load(other, tmp_path, pytest.fail)
    assert {torch.get_num_threads() for _ in other} == {1}
    assert torch.get_num_threads() == before


def test_saving_changes_nothing(tmp_path: Path) -> None:
    plain, often = make(net=noisy), make(net=noisy)
    small.all_of([plain])
    for event in often:
        if isinstance(event, StepDone | TaskEnded):
            save(often, tmp_path)
    assert_equal_runs(plain, often)


# ---------------------------------------------------------------------------------------------------------- files


def test_what_was_written_is_read(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 2), "b": torch.arange(4), "empty": torch.zeros(0)}
    path = write(tmp_path, 12, 3, tensors, {"dict": [["x", 1]]}, {"events": 99})
    assert path.name == "0000000012-00003.json"
    found, form, extra = read(path)
    assert {name: value.tolist() for name, value in found.items()} == {
        n: t.tolist() for n, t in tensors.items()
    }
    assert (form, extra) == ({"dict": [["x", 1]]}, {"events": 99})


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"000000000{n}-00000.{kind}" for n in (4, 5) for kind in ("json", "safetensors")]


def test_leftovers_of_interrupted_writes_go(tmp_path: Path) -> None:
    for name in (".0000000003-00000.json.part", "0000000001-00000.safetensors", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    saved(tmp_path, 2)
    names = {path.name for path in tmp_path.iterdir()}
    assert not any(name.endswith(".part") for name in names)
    assert "notes.txt" in names and len(names) == 5


def test_a_directory_without_checkpoints(tmp_path: Path) -> None:
    extra, said, run = loaded(tmp_path / "nowhere")
    assert (extra, said, run.records.steps) == (None, [], 0)


def test_the_last_task_that_a_stream_may_have_has_a_name(tmp_path: Path) -> None:
    path = write(tmp_path, 7, MOST_TASKS, {}, {}, {})
    assert [found for found, _ in checkpoint.extras(tmp_path)] == [path]


def test_the_newest_is_used(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    extra, said, run = loaded(tmp_path)
    assert (extra, said, run.records.steps) == ({"events": 3}, [], 3)


# ------------------------------------------------------------------------------------------------------ damaged files


def damages(content: bytes, count: int, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """Copies of a file with one byte changed or the rest cut off, spread over all its regions; and with more."""
    for i in range(count):
        at = (i * len(content)) // count
        at = min(len(content) - 1, at + rng.randrange(max(1, len(content) // count)))
        flipped = bytes([content[at] ^ rng.randrange(1, 256)])
        yield f"byte {at} of {len(content)} changed", content[:at] + flipped + content[at + 1 :]
    for i in range(count // 8):
        at = (i * len(content)) // (count // 8)
        yield f"cut at {at} of {len(content)}", content[:at]
    yield "one byte more", content + b"\0"
    yield "empty", b""


def test_no_damaged_checkpoint_is_accepted(tmp_path: Path) -> None:
    """A thousand of them. What is read is what was written, or it is an error."""
    state = {"list": [{"tensor": "a"}, {"tensor": "b"}, 1.5, None, "text"]}
    path = write(tmp_path, 1, 0, {"a": torch.randn(20), "b": torch.arange(9)}, state, {"events": 3})
    original = {file: file.read_bytes() for file in (path, path.with_suffix(".safetensors"))}
    tensors, form, extra = read(path)
    rng, tried, accepted = random.Random(0), 0, 0
    for file, content in original.items():
        for what, damaged in damages(content, 450, rng):
            tried += 1
            file.write_bytes(damaged)
            try:
                found = read(path)
            except Damaged:
                continue
            finally:
                file.write_bytes(content)
            accepted += 1  # white space of the JSON exchanged for other white space
            assert file is path and damaged.decode().split() == content.decode().split(), what
            assert found[1:] == (form, extra)
            assert all(torch.equal(value, tensors[name]) for name, value in found[0].items())
    assert tried >= 1000
    assert accepted <= 5


@pytest.mark.parametrize("kind", ["json", "safetensors"])
@pytest.mark.parametrize("how", ["changed", "cut", "missing"])
def test_the_one_before_a_damaged_one_is_used(kind: str, how: str, tmp_path: Path) -> None:
    saved(tmp_path, 3)
    path = tmp_path / f"0000000003-00000.{kind}"
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        middle = len(content) // 2
        changed = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(changed if how == "changed" else content[:middle])
    extra, said, run = loaded(tmp_path)
    assert (extra, run.records.steps) == ({"events": 2}, 2)
    if (kind, how) == ("json", "missing"):
        assert said == []  # as if it had never been written
    else:
        [text] = said
        assert text.startswith("0000000003-00000.") and text.endswith("; trying the one before")


def test_where_all_are_damaged_the_run_begins_anew(tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 2)
    for path in paths:
        path.write_text("{}")
    extra, said, run = loaded(tmp_path)
    assert (extra, run.records.steps) == (None, 0)
    assert said[-1] == "no sound checkpoint is left: starting from the beginning"
    assert len(said) == 3


def test_a_damaged_one_does_not_push_out_sound_ones(tmp_path: Path) -> None:
    """The run goes on from an earlier step; what it saves then is newer than the damaged file of a later step."""
    _, paths = saved(tmp_path, 4)
    paths[-1].write_bytes(paths[-1].read_bytes()[:-9])
    _, _, run = loaded(tmp_path)
    assert run.records.steps == 3
    save(run, tmp_path, {"events": 3})
    assert [path.stem[:10] for path in sorted(tmp_path.glob("*.json"))] == ["0000000003"]
    for event in run:
        if isinstance(event, StepDone):
            save(run, tmp_path, {"events": event.total_steps})
            break
    extra, said, again = loaded(tmp_path)
    assert (extra, said, again.records.steps) == ({"events": 4}, [], 4)


def test_both_damaged_then_a_new_beginning_is_kept(tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 9)
    for path in paths:
        path.write_bytes(b"")
    saved(tmp_path, 1)
    extra, said, run = loaded(tmp_path)
    assert (extra, said, run.records.steps) == ({"events": 1}, [], 1)


# --------------------------------------------------------------------------------------- sound files with wrong content


def forge(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite a checkpoint's JSON with right checksums."""
    body = json.loads(json.loads(path.read_text())["body"])
    change(body)
    text = json.dumps(body)
    path.write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "body": text}))


def test_another_format_is_not_mistaken_for_damage(tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 2)
    forge(paths[-1], lambda body: body.update(format=2))
    with pytest.raises(CheckpointError, match="0000000002-00000.json has format 2; this version reads 1"):
        loaded(tmp_path)


@pytest.mark.parametrize("reference", ["os:system", "builtins:exec", "hypermnesia.training.loop:Fit"])
def test_types_that_do_not_belong_to_the_run(reference: str, tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 1)
    forge(paths[-1], lambda body: body.update(form={"type": reference, "fields": {}}))
    with pytest.raises(CheckpointError, match=f"a checkpoint names the type {reference}, which does not"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    "form", [None, 3, {"dict": []}, {"list": []}, {"dict": [["models", {"dict": []}]]}], ids=str
)
def test_content_that_no_run_has_written(form: Any, tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 1)
    forge(paths[-1], lambda body: body.update(form=form))
    with pytest.raises(CheckpointError, match="a checkpoint does not belong to this run"):
        loaded(tmp_path)


@pytest.mark.parametrize("field", ["format", "tensors_sha256", "form", "extra"])
def test_a_body_with_something_missing(field: str, tmp_path: Path) -> None:
    _, paths = saved(tmp_path, 1)
    forge(paths[-1], lambda body: body.pop(field))
    assert loaded(tmp_path)[1][-1] == "no sound checkpoint is left: starting from the beginning"


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    saved(tmp_path, 1, make())
    other = small.run(small.split_stream(tasks=2))
    with pytest.raises(CheckpointError, match=r"target.head.weight is \(6, 8\) on disk, \(4, 8\) here"):
        load(other, tmp_path, pytest.fail)
    other = make(net=small.conv)
    with pytest.raises(CheckpointError, match="the checkpoint does not fit this model main: target."):
        load(other, tmp_path, pytest.fail)


def test_a_checkpoint_of_another_device(tmp_path: Path) -> None:
    run, [path] = saved(tmp_path, 1, make())
    forge(path, lambda body: body["form"]["dict"][0].__setitem__(1, "cuda"))
    text = "the run was made on cuda, and only there it goes on exactly: resume it with --device cuda"
    with pytest.raises(CheckpointError, match=text):
        load(make(), tmp_path, pytest.fail)
    found = make()
    assert load(found, tmp_path, pytest.fail, exact=False) is not None
    for name, value in run.learner.model.stored().items():
        assert torch.equal(found.learner.model.stored()[name], value)


def test_a_method_of_ones_own_may_keep_a_state_of_ones_own(tmp_path: Path) -> None:
    """Its dataclass lives outside this package; combined with a penalty, too."""
    for penalties in ((), (Drift(),)):

        def make_own(penalties: tuple[Any, ...] = penalties) -> Fit:
            return small.run(weights="hyper", method=combine(Counting(), *penalties))

        expected, _ = finished(make_own)
        directory = tmp_path / str(len(penalties))
        assert_equal_runs(resumed(make_own, [3, 7], directory), expected)


class Counting(Finetune):
    """Counts its steps."""

    def init(self, learner: Any) -> "Counted":
        return Counted(0, {})

    def after_step(self, state: "Counted", *rest: Any) -> "Counted":
        return Counted(state.steps + 1, {"last.logits": rest[1].aux.logits})


@dataclass(frozen=True)
class Counted:
    """The state of `Counting`."""

    steps: int
    seen: dict[str, torch.Tensor]


# ----------------------------------------------------------------------------------------- writes that do not come off


def test_broken_parameters_are_never_saved(tmp_path: Path) -> None:
    run, paths = saved(tmp_path, 2)
    next(iter(run.learner.model.stored().values())).data.view(-1)[0] = float("nan")
    with pytest.raises(RunFailed, match="is not finite at step 2 of the run"):
        save(run, tmp_path)
    assert sorted(tmp_path.glob("*.json")) == paths


def test_a_write_may_end_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before or after any call that touches the disk, a sound checkpoint is left: the old one or the new."""

    class Killed(BaseException):
        pass

    countdown = 0

    def counted(call: Callable[..., Any], after: bool) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal countdown
            countdown -= 1
            if countdown == 0 and not after:
                raise Killed
            result = call(*args, **kwargs)
            if countdown == 0:
                raise Killed
            return result

        return wrapper

    for after, at in itertools.product((False, True), range(1, 12)):
        directory = tmp_path / f"{after}-{at}"
        run, _ = saved(directory, 3)
        with monkeypatch.context() as patch:
            for module, name in ((os, "replace"), (os, "fsync"), (Path, "unlink")):
                patch.setattr(module, name, counted(getattr(module, name), after))
            events = iter(run)
            step = next(event for event in events if isinstance(event, StepDone))
            countdown = at
            try:
                save(run, directory, {"events": step.total_steps})
            except Killed:
                pass
        extra, said, _ = loaded(directory)
        assert extra in ({"events": 3}, {"events": 4}), (after, at)
        assert said == [] or "cannot be read" in said[0] or "does not match" in said[0]


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 KiB; skips where none can be mounted."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system of limited size can be mounted here")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_keeps_the_last_checkpoint(little_disk: Path) -> None:
    def full() -> Fit:
        return make(weights="hyper", method=combine(Finetune(), Drift()))

    run = full()
    last = None
    with pytest.raises(OSError) as caught:
        for event in run:
            if isinstance(event, StepDone | TaskEnded):
                (little_disk / f"ballast-{run.records.steps}-{type(event).__name__}").write_bytes(b"x" * 4096)
                save(run, little_disk, {"events": run.records.steps})
                last = run.records.steps
    assert caught.value.errno == errno.ENOSPC
    extra, said, _ = loaded(little_disk)
    assert last is not None and extra is not None
    assert (extra["events"] in (last - 1, last), said) == (True, [])
    assert not list(little_disk.glob(".*.part"))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_error_is_an_error_and_leaves_the_old_ones(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, paths = saved(tmp_path, 2)

    def failing(*args: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(OSError, match="No space left on device"):
            write(tmp_path, 3, 0, {}, {}, {})
    assert sorted(tmp_path.glob("*.json")) == paths
    assert not list(tmp_path.glob(".*.part"))
    assert loaded(tmp_path)[0] == {"events": 2}


def test_errors_are_errors_of_the_user() -> None:
    assert issubclass(Damaged, CheckpointError) and issubclass(CheckpointError, HypermnesiaError)
    assert checkpoint.KEPT == 2
