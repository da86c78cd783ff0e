"""The command line: what it prints, how it ends, what it leaves."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from running import SHORT, files_below, read, without_times

from hypermnesia import __version__
from hypermnesia.commands.app import main
from hypermnesia.experiments import recipes
from hypermnesia.experiments.recipes import Published, Recipe
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs import directory as runs
from hypermnesia.runs.execute import execute_seeds
from hypermnesia.training import events


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty directory, on a page of 160 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """DIR of a finished run with one seed; tests leave it as it is."""
    directory = tmp_path_factory.mktemp("cli") / "hnet"
    execute_seeds(resolve("split-digits", "hnet", SHORT), [0], directory)
    return directory


# ------------------------------------------------------------------------------------------------------------- run


def test_run_alone_learns_the_digits_with_hnet_and_is_recognised(command, tmp_path):
    first = command("run", *SHORT)
    assert first.code == 0 and first.err == ""
    [directory] = tmp_path.glob("runs/split-digits/hnet-*")
    assert directory.name == f"hnet-iterations=5-{read(directory / 'result.json')['config_sha256'][:8]}"
    assert "task 5/5 done" in first.out and "average accuracy" in first.out
    for scenario in ("task-incremental", "class-incremental", "domain-incremental"):
        assert scenario in first.out
    assert f"files: {directory.relative_to(tmp_path)}   more: hypermnesia show" in first.out
    before = files_below(directory)
    second = command("run", "split-digits", "hnet", *SHORT)
    assert second.code == 0 and "already finished, in runs/split-digits/hnet-" in second.out
    assert files_below(directory) == before


def test_seeds_and_out(command, tmp_path):
    done = command("run", "split-digits", "er", *SHORT, "--seeds", "2,0..1", "--out", "here")
    assert done.code == 0 and "3 seeds, ± is half of the 95 % interval" in done.out
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == [
        "seed-0",
        "seed-1",
        "seed-2",
        "summary.json",
    ]
    assert read(tmp_path / "here" / "summary.json")["seeds"] == [0, 1, 2]


def test_a_saved_configuration_is_the_same_run_again(command, finished, tmp_path):
    done = command("run", "--config", finished / "seed-0" / "config.toml", "--out", finished)
    assert done.code == 0 and "already finished" in done.out
    other = command("run", "--config", finished / "seed-0" / "config.toml", "beta=0.5", "--out", finished)
    assert other.code == 2 and "holds a run with another configuration" in other.err


def test_a_file_of_settings_and_words_that_win(command, tmp_path):
    (tmp_path / "mine.toml").write_text(
        'approach = "er"\n[train]\niterations = 9\nthreads = 1\n[memory]\nsize = 33\n'
    )
    assert command("run", "--config", "mine.toml", "iterations=2", "--out", "o").code == 0
    saved = (tmp_path / "o" / "seed-0" / "config.toml").read_text()
    assert 'approach = "er"' in saved and "iterations = 2" in saved and "size = 33" in saved


def test_notes_tell_how_defaults_were_found(command):
    done = command("run", "split-mnist", "derpp", "memory.size=300", "--data-dir", ".")
    assert done.code == 2 and done.out.startswith(
        "note: no published settings for memory.size=300; using those for"
    )


def test_trackers_are_no_part_of_the_configuration(command, tmp_path):
    assert command("run", "split-digits", "er", *SHORT, "--track", "csv,csv").code == 0
    assert command("run", "split-digits", "er", *SHORT).code == 0
    [directory] = tmp_path.glob("runs/split-digits/*")
    assert (directory / "seed-0" / "events.csv").exists()


def stop_at(monkeypatch, task: int) -> None:
    """Send SIGINT once `task` has ended."""
    write = events.EventLog.write

    def strike(log, event):
        write(log, event)
        if type(event).__name__ == "TaskEnded" and event.task == task:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(events.EventLog, "write", strike)


def test_resume_goes_on_where_an_interruption_left_it(command, monkeypatch, finished, tmp_path):
    with monkeypatch.context() as patch:
        stop_at(patch, 1)
        stopped = command("run", *SHORT, "--out", "o")
    assert stopped.code == 130
    assert stopped.err == "hypermnesia: stopped by SIGINT; go on with: hypermnesia resume o/seed-0\n"
    assert command("show", "o").code == 2
    resumed = command("resume", "o")
    assert resumed.code == 0 and "goes on with task 3 of 5" in resumed.out
    assert "task 2/5" not in resumed.out and "task 3/5 done" in resumed.out
    result = read(tmp_path / "o" / "seed-0" / "result.json")
    assert without_times(result) == without_times(read(finished / "seed-0" / "result.json"))
    assert read(tmp_path / "o" / "result.json") == result
    for directory in ("o", "o/seed-0"):
        again = command("resume", directory)
        assert again.code == 0 and "already finished" in again.out


def test_resume_finishes_all_seeds_of_the_interrupted_command(command, monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        stop_at(patched, 1)
        stopped = command("run", "split-digits", "er", *SHORT, "--seeds", "0..2", "--out", "o")
        again = command("resume", "o")
    assert stopped.code == again.code == 130
    told = "hypermnesia: stopped by SIGINT; go on with: hypermnesia resume o, which finishes seeds"
    assert (stopped.err, again.err) == (f"{told} 0, 1, 2\n", f"{told} 1, 2\n")
    resumed = command("resume", "o")
    assert resumed.code == 0, resumed.err
    whole = command("run", "split-digits", "er", *SHORT, "--seeds", "0..2", "--out", "whole")
    assert "stored" in resumed.out and "files: o   more: hypermnesia show o" in resumed.out
    for seed in range(3):
        ours, theirs = (read(tmp_path / d / f"seed-{seed}" / "result.json") for d in ("o", "whole"))
        assert without_times(ours) == without_times(theirs)
    assert "3 seeds, ±" in resumed.out and "3 seeds, ±" in whole.out


def test_run_resumes_too(command, monkeypatch):
    with monkeypatch.context() as patch:
        stop_at(patch, 2)
        assert command("run", *SHORT).code == 130
    resumed = command("run", *SHORT)
    assert resumed.code == 0 and "goes on with task 4 of 5" in resumed.out and "task 4/5 done" in resumed.out


# ---------------------------------------------------------------------------------------------------------- looking


def test_show(command, finished):
    done = command("show", finished)
    assert done.code == 0 and done.out.count("accuracy in %") == 3
    assert done.out.count("task 5 ") == 3 and "trainable parameters" in done.out
    assert command("show", finished / "seed-0").out == done.out
    variants = command("show", finished, "--variants").out
    assert variants.count("forgetting_chaudhry18") == 3 and "RWalk, Chaudhry et al. 2018" in variants


def test_metrics_of_a_pasted_matrix(command, tmp_path, monkeypatch):
    (tmp_path / "m.csv").write_text("96,20\n60,98\n")
    done = command("metrics", "m.csv")
    assert done.code == 0
    found = dict(line.split()[:2] for line in done.out.splitlines() if "_" in line.split(" ")[0])
    assert (
        found["acc_gem"] == "79.00"
        and found["forgetting_chaudhry18"] == "36.00"
        and found["bwt_gem"] == "−36.00"
    )
    monkeypatch.setattr(sys, "stdin", io.StringIO("96 20\n60 98"))
    assert command("metrics", "-").out == done.out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff"), encoding="utf-8"))
    assert "standard input is no UTF-8 text" in command("metrics", "-").err


def test_metrics_of_a_run(command, finished):
    assert command("metrics", finished).out.count("forgetting_mammoth") == 3


@pytest.mark.parametrize("kind", ["benchmarks", "approaches", "nets", "generators", "inferences", "recipes"])
def test_lists(command, kind):
    done = command("list", kind)
    assert done.code == 0 and len(done.out.splitlines()) > 3


def test_list_options(command):
    done = command("list", "options", "hnet", "split-mnist", "net=lenet")
    assert done.code == 0 and "hnet on split-mnist" in done.out and "net.variant" in done.out


def test_reports(command, finished, tmp_path):
    done = command("report", finished)
    assert done.code == 0 and done.out == "report.html\n"
    assert "<html" in (tmp_path / "report.html").read_text()
    assert command("report", finished, "--format", "md").out.startswith("## split-digits")
    assert command("report", finished, "--format", "csv", "-o", "t.csv").out == "t.csv\n"
    assert command("report", finished, "--format", "pdf").code == 2


# --------------------------------------------------------------------------------------------- compare, reproduce


def test_compare(command, tmp_path, monkeypatch):
    words = ("compare", "split-digits", "er", "hnet", *SHORT, "beta=0.01,0.5")
    done = command(*words)
    assert done.code == 0 and done.err == ""
    for label in (
        "er",
        "hnet (beta=0.01)",
        "hnet (beta=0.5)",
        "finetune (lower bound)",
        "joint (upper bound)",
    ):
        assert label in done.out
    assert len(list(tmp_path.glob("runs/split-digits/*/seed-0/result.json"))) == 5
    again = command(*words)
    assert again.code == 0 and "done after" not in again.out
    table = done.out[done.out.index("approach") :]
    assert again.out[again.out.index("approach") :] == table
    assert "joint" not in command(*words, "--no-bounds").out
    monkeypatch.setenv("COLUMNS", "80")
    narrow = command(*words).out
    lines = narrow[narrow.index("approach") : narrow.index("report:")].splitlines()
    assert max(map(len, lines)) <= 80
    tables = sum(line.startswith("approach ") for line in lines)
    assert tables > 1 and sum(line.startswith("finetune (lower bound) ") for line in lines) == tables
    monkeypatch.delenv("COLUMNS")
    listed = command("list", "runs")
    assert listed.code == 0 and listed.out.count("split-digits") == 2 * 5
    assert "there are no runs below nowhere; name the directory" in command("list", "runs", "nowhere").err


def test_a_damaged_run_is_skipped(command, tmp_path):
    words = ("compare", "split-digits", "er", *SHORT, "--out", "o")
    assert command(*words).code == 0
    [hurt] = tmp_path.glob("o/split-digits/joint-*/seed-0/config.toml")
    hurt.write_text("?")
    done = command(*words)
    assert done.code == 0 and "hypermnesia: skipped: o/split-digits/joint-" in done.err
    assert "finetune" in done.out and "joint" not in done.out


def test_a_run_that_fails_is_told_and_the_others_shown(command):
    done = command(
        "compare", "split-digits", "er", *SHORT, "optimizer.name=sgd", "lr=0.1,1e30", "--no-bounds"
    )
    assert done.code == 3
    assert "hypermnesia: failed: " in done.err and "the loss became" in done.err and "approach" in done.out


def test_reproduce(command, monkeypatch, tmp_path):
    def offer(value: float) -> None:
        figure = Published(
            metric="scenarios.task.average_accuracy", value=value, tolerance=0.3, where="Table 1"
        )
        one = Recipe(
            name="digits",
            benchmark="split-digits",
            approach="finetune",
            source="a paper",
            settings={"train.iterations": 3, "train.threads": 1},
            short={"train.iterations": 2},
            published=(figure,),
            seeds="0..1",
        )
        monkeypatch.setattr(recipes, "all_recipes", lambda: {"digits": one})

    offer(0.7)
    done = command("reproduce", "digits", "--record", "docs/results.toml")
    assert done.code == 0 and "within tolerance" in done.out and "NOT" not in done.out
    assert "scenarios.task.average_accuracy (Table 1)" in done.out and "published: a paper" in done.out
    assert "full: " in command("list", "recipes").out
    page = command("reproduce", "--page", "docs/reproduction.md")
    assert page.code == 0 and "| `digits` | task | 70.00 † |" in Path("docs/reproduction.md").read_text()
    offer(0.1)
    missed = command("reproduce", "dig*", "digits")
    assert missed.code == 1 and "NOT within tolerance: above" in missed.out
    short = command("reproduce", "digits", "--budget", "short")
    assert short.code == 0 and "short budget: not comparable" in short.out
    (tmp_path / "bad.toml").write_text("[")
    assert command("reproduce", "digits", "--record", "bad.toml").code == 2


# ------------------------------------------------------------------------------------------------- export, predict


def test_export_counts_tasks_from_1_as_the_tables_do(command, finished):
    done = command("export", finished, "--task", "3", "--out", "e")
    assert done.code == 0 and done.out.split() == ["e/task-3.safetensors", "e/task-3.pt2", "e/task-3.json"]
    assert read(Path("e/task-3.json"))["outputs"] == ["4", "5"]
    for task in ("0", "6"):
        refused = command("export", finished, "--task", task)
        assert refused.code == 2 and f"there is no task {task}" in refused.err


def test_predict(command, finished):
    Image.new("RGB", (20, 20)).save("a.png")
    inferred = command("predict", finished, "a.png", "a.png")
    assert inferred.code == 0 and inferred.out.count("a.png") == 2 and "(inferred)" in inferred.out
    given = command("predict", finished, "a.png", "--task", "2")
    assert given.code == 0 and " 2: 2, 3 " in given.out
    for task in ("x", "-1", "1.5", "²"):
        refused = command("predict", finished, "a.png", "--task", task)
        assert refused.code == 2 and "expected auto or a task's number from 1" in refused.err


def test_of_several_seeds_one_has_to_be_named(command):
    command("run", "split-digits", "er", *SHORT, "--seeds", "0..1", "--out", "o")
    refused = command("export", "o", "--task", "1")
    assert refused.code == 2 and "o holds 2 seeds (seed-0, seed-1); name one: o/seed-0" in refused.err


# -------------------------------------------------------------------------------------------------------- bad input


def a_folder_with_one_class() -> None:
    Path("folder/cat").mkdir(parents=True)
    Image.new("L", (8, 8)).save("folder/cat/a.png")


def truncated_parquet() -> None:
    Path("data/mnist").mkdir(parents=True)
    image = io.BytesIO()
    Image.new("L", (28, 28)).save(image, "PNG")
    table = pa.table({"image": [{"bytes": image.getvalue()}], "label": [0]})
    for part in ("train", "test"):
        pq.write_table(table, f"data/mnist/{part}-00000-of-00001.parquet")
    whole = Path("data/mnist/train-00000-of-00001.parquet").read_bytes()
    Path("data/mnist/train-00000-of-00001.parquet").write_bytes(whole[: len(whole) // 2])


def a_file() -> None:
    Path("file").write_text("")


def no_toml() -> None:
    Path("file").write_bytes(b"\xff\x00")


def nothing() -> None:
    return


BAD = [
    (nothing, "run split-digit", 2, "unknown benchmark 'split-digit'; did you mean"),
    (nothing, "run split-digits hnett", 2, "unknown approach 'hnett'; did you mean 'hnet'?"),
    (nothing, "run hnet split-mnist", 2, "the benchmark comes first: hypermnesia run split-mnist hnet"),
    (nothing, "run split-digits hnet betta=1", 2, "unknown key 'betta'; did you mean 'drift.beta'?"),
    (nothing, "run split-digits hnet drift.beta=high", 2, "drift.beta: expected number >= 0, got text high"),
    (nothing, "run split-digits hnet beta=1 drift.beta=2", 2, "drift.beta is given twice"),
    (nothing, "run split-digits hnet beta=1,2", 2, "bare commas make variants"),
    (nothing, "run split-digits hnet drift.beta=-1", 2, "drift.beta: expected number >= 0, got integer -1"),
    (nothing, "run split-digits hnet net=resnet19", 2, "unknown net 'resnet19'; did you mean 'resnet18'?"),
    (nothing, "run split-digits hnet train.iterations=nan", 2, "train.iterations: expected integer"),
    (nothing, "run split-digits hnet er", 2, "'er' is one word too many"),
    (nothing, "run split-digits hnet stream.tasks=6", 2, "the most possible is 5 tasks"),
    (
        nothing,
        "run split-digits er evaluate.scenarios=[domain]",
        2,
        "evaluate.scenarios: domain does not apply",
    ),
    (nothing, "run split-mnist er --data-dir nowhere", 2, "--data-dir nowhere is no directory"),
    (nothing, "run split-mnist er --data-dir .", 2, "mnist/*.parquet"),
    (truncated_parquet, "run split-mnist er --data-dir data", 2, "train-00000-of-00001.parquet"),
    (a_folder_with_one_class, "run folder:folder er", 2, "one class only"),
    (nothing, "run folder:nowhere er", 2, "nowhere"),
    (
        a_file,
        "run split-digits er --out file/x",
        2,
        "cannot create the run directory file/x/seed-0: Not a directory",
    ),
    (nothing, "run --seeds 2..0", 2, "the range 2..0 runs backwards"),
    (nothing, "run --seeds=-1", 2, "'-1' is neither a number from 0 on nor a range"),
    (nothing, "run --device tpu", 2, "unknown device 'tpu'"),
    (nothing, "run --track nothing", 2, "unknown tracker 'nothing'"),
    (
        nothing,
        "run --config nowhere.toml",
        2,
        "--config nowhere.toml cannot be read: No such file or directory",
    ),
    (no_toml, "run --config file", 2, "--config file is no UTF-8 text"),
    (nothing, "run --nonsense", 2, "No such option"),
    (nothing, "runn", 2, "No such command"),
    (nothing, "resume nowhere", 2, "nowhere holds no run"),
    (nothing, "show nowhere", 2, "nowhere holds no run"),
    (nothing, "compare split-digits", 2, "name a benchmark and approaches"),
    (nothing, "compare split-digits hnet betta=1", 2, "none of hnet has an option 'betta'"),
    (nothing, "reproduce nothing", 2, "unknown recipe 'nothing'"),
    (nothing, "reproduce split-mnist-hnet --budget huge", 2, "unknown budget 'huge'"),
    (nothing, "report nowhere", 2, "no such directory: 'nowhere'"),
    (nothing, "metrics nowhere.csv", 2, "there is no file nowhere.csv"),
    (a_file, "metrics file", 2, "file holds no number"),
    (nothing, "export nowhere --task 1", 2, "nowhere holds no run"),
    (nothing, "predict nowhere a.png", 2, "nowhere holds no run"),
    (nothing, "list nothing", 2, "unknown list 'nothing'"),
]


@pytest.mark.parametrize(("prepare", "words", "code", "fault"), BAD, ids=[words for _, words, *_ in BAD])
def test_bad_input_ends_with_one_message_and_leaves_nothing(command, tmp_path, prepare, words, code, fault):
    prepare()
    before = files_below(tmp_path)
    done = command(*words.split())
    assert done.code == code and fault in done.err and "Traceback" not in done.err
    assert done.err.startswith("Usage: ") or (
        done.err.startswith("hypermnesia: ") and done.err.count("\n") == 1
    )
    assert files_below(tmp_path) == before


def test_a_loss_that_breaks_ends_with_3(command, tmp_path):
    done = command("run", "split-digits", "er", *SHORT, "optimizer.name=sgd", "lr=1e30", "--out", "o")
    assert (
        done.code == 3 and done.err.startswith("hypermnesia: the loss became") and done.err.count("\n") == 1
    )
    assert not (tmp_path / "o" / "seed-0" / "result.json").exists()


def test_a_run_is_not_resumed_with_another_configuration(command, finished):
    done = command("resume", finished, "beta=1")
    assert done.code == 2
    assert "a run is resumed with its own configuration, so 'beta=1' cannot be said" in done.err


def test_a_device_that_is_not_there(command, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = command("run", "--device", "cuda")
    assert done.code == 2 and "torch sees no CUDA device here" in done.err


def test_errors_of_ours_keep_their_traceback(monkeypatch, finished):
    monkeypatch.setattr(runs, "seed_directories", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        main(["show", str(finished)])


def test_ctrl_c_outside_of_training_ends_with_130(monkeypatch, finished, command):
    def interrupted(directory):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "seed_directories", interrupted)
    assert command("show", finished).code == 130


# ---------------------------------------------------------------------------------------------------- the program


def program(*words: object, **more) -> subprocess.Popen:
    source = Path(runs.__file__).parents[2]
    env = os.environ | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-m", "hypermnesia", *map(str, words)]
    return subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more
    )


def test_the_version():
    out, err = program("--version").communicate(timeout=60)
    assert (out, err) == (f"hypermnesia {__version__}\n", "")


def test_a_reader_that_goes_away_is_no_error(finished):
    done = program("list", "options", "hnet")
    assert done.stdout is not None and done.stderr is not None
    done.stdout.close()
    err = done.stderr.read()
    done.wait(timeout=60)
    done.stderr.close()
    assert "Traceback" not in err and "BrokenPipe" not in err
