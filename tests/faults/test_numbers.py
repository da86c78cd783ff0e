"""Runs that diverge stop with what is needed to mend them, and can be kept from diverging."""

from collections.abc import Callable
from pathlib import Path

from contract import BY_NAME, words_of
from running import Said

Command = Callable[..., Said]
WILD = ("optimizer.name=sgd", "train.iterations=60", "checkpoint.every=0")


def run(command: Command, out: Path, *more: str) -> Said:
    words = words_of(BY_NAME["finetune"], *WILD, *more)
    return command("run", "split-digits", "finetune", *words, "--device", "cpu", "--out", out)


def test_the_message_names_step_terms_and_the_last_good_checkpoint(command: Command, tmp_path: Path) -> None:
    done = run(command, tmp_path / "o", "optimizer.lr=1e30")
    assert done.code == 3 and done.err.count("\n") == 1 and "Traceback" not in done.err
    kept = sorted((tmp_path / "o" / "seed-0" / "checkpoint").glob("*.json"))
    for part in (
        "the loss became ",
        " at step ",
        " of task 0 ",
        "its terms: cross_entropy=",
        f"is {kept[-1]}",
    ):
        assert part in done.err
    assert not (tmp_path / "o" / "seed-0" / "result.json").exists()
    again = command("resume", tmp_path / "o")
    assert again.code == 3 and "the loss became " in again.err


def test_clipped_gradients_keep_it_going(command: Command, tmp_path: Path) -> None:
    done = run(command, tmp_path / "o", "optimizer.lr=1e30", "train.clip=1e-31")
    assert done.code == 0, done.err


def test_the_first_broken_gradient_is_named(command: Command, tmp_path: Path) -> None:
    done = run(command, tmp_path / "o", "optimizer.lr=1e30", "train.check=all")
    assert done.code == 3
    assert "the gradient of target.layer1.linear.weight is not finite at step 2 of task 0" in done.err
