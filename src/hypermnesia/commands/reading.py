"""The commands that read what runs have left: show, metrics, list, report, export, predict, evaluate."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hypermnesia.commands import arguments
from hypermnesia.commands.arguments import Device, Directory, TrustCode, Words
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.printable import printable

# What is heavy is imported inside the commands, as in app.py.

LEDGER = Path("docs/results.toml")


def show(
    directory: Directory,
    variants: Annotated[bool, typer.Option("--variants", help="Every definition of every metric.")] = False,
) -> None:
    """Show accuracy matrices and metrics of a run."""
    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.results import summary_of

    results, page = arguments.results(directory), console()
    tables.show_results(page, results, variants)
    summary = summary_of(results)
    page.print(tables.summary(summary))
    page.print()
    page.print(tables.costs(summary))


def metrics(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A matrix as CSV (- for standard input), or a run.")
    ],
) -> None:
    """Work out every metric of an accuracy matrix: a row for each task learned, a column for each test."""
    from hypermnesia.commands import matrix_file, tables
    from hypermnesia.commands.progress import console

    if source.is_dir():
        tables.show_results(console(), arguments.results(source), with_variants=True)
    elif str(source) == "-":
        tables.pasted(console(), matrix_file.read_stream(sys.stdin, "standard input"))
    else:
        tables.pasted(console(), matrix_file.read_matrix(source))


def list_(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="benchmarks, approaches, nets, generators, inferences, recipes, options or runs.",
        ),
    ],
    words: Words = None,
    ledger: Annotated[Path, typer.Option(help="Where recipes' reproductions are recorded.")] = LEDGER,
) -> None:
    """List what there is: list benchmarks, ..., list options APPROACH [BENCHMARK] [key=value ...], list runs [DIR]"""
    from hypermnesia.commands.listing import listed
    from hypermnesia.commands.progress import console

    console().print(listed(what, words or [], ledger))


def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs, or parents of runs.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where it goes.",
            metavar="FILE",
            show_default="report.html; other formats to the terminal",
        ),
    ] = None,
    format: Annotated[str, typer.Option(help="html, md, latex or csv.")] = "html",
    columns: Annotated[
        str,
        typer.Option(
            help="Of a table: class.forgetting, or accuracy of every scenario: average_accuracy; with commas.",
            metavar="NAMES",
            show_default="the main ones",
        ),
    ] = "",
) -> None:
    """Report runs on one page, or as a table for a paper."""
    from hypermnesia.report import write

    names = [name.strip() for name in columns.split(",") if name.strip()]
    made = write(directories, output or (Path("report.html") if format == "html" else None), format, names)
    text = str(made) if isinstance(made, Path) else made.rstrip("\n")
    print(printable(text, breaks=True) if sys.stdout.isatty() else text)  # CSV keeps names as they are


def export(
    directory: Directory,
    task: Annotated[
        int | None, typer.Option(help="One task's network, from 1; by default the whole classifier.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Where the files go.", metavar="OUT", show_default="DIR/seed-K/export"
        ),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write an ONNX file, too.")] = False,
    peft: Annotated[
        bool, typer.Option("--peft", help="Of weights=lora: a task's adapter alone, in PEFT's format.")
    ] = False,
    trust_code: TrustCode = False,
) -> None:
    """Write the whole classifier as one program: raw images in, class and probabilities out, the task inferred.

    With --task a task's network: its plain weights (safetensors), and a program from preprocessed images to logits.
    """
    from hypermnesia.runs.export import export_adapter, export_task
    from hypermnesia.runs.export_whole import export_classifier

    if peft and task is None:
        raise HypermnesiaError("--peft writes one task's adapter: say which, with --task")
    with arguments.code_of(directory, trust_code):
        seed = arguments.one_seed(directory)
        if peft and task is not None:
            print(export_adapter(seed, task - 1, out))
            return
        if task is None:
            files = export_classifier(seed, out, onnx)
        else:
            files = export_task(seed, task - 1, out, onnx)
    for path in files:
        print(path)


Task = Annotated[str, typer.Option(help="auto, or a task's number from 1.")]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def _task_number(task: str) -> int | None:
    """The task (from 0) that --task names; None for auto."""
    if task != "auto" and not (task.isascii() and task.isdecimal() and len(task) < 10):
        raise HypermnesiaError(f"--task {task}: expected auto or a task's number from 1")
    return None if task == "auto" else int(task) - 1


def predict(
    directory: Directory,
    images: Annotated[
        list[Path],
        typer.Argument(metavar="FOLDER|FILE...", help="Files of images or texts, or folders of them."),
    ],
    task: Task = "auto",
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="As CSV: file, answer, confidence, task.")] = False,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Name the class of images or texts, with a confidence."""
    import csv
    import json

    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.directory import task_names
    from hypermnesia.runs.predict import predict as predicting

    if as_json and as_csv:
        raise HypermnesiaError("--json --csv: choose one of the two")
    number, seed = _task_number(task), arguments.one_seed(directory)
    with arguments.code_of(directory, trust_code):
        found = predicting(seed, images, number, arguments.device(device))
    if as_json:
        print(json.dumps([one.as_json() for one in found], indent=1))
    elif as_csv:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(["file", "answer", "confidence", "task"])
        rows.writerows(
            [one.image, one.answer, f"{one.ranked[0][1]:.6f}", "" if one.task is None else one.task + 1]
            for one in found
        )
    else:
        page = console()
        page.print(tables.predictions(found, task_names(seed), page.width))


def evaluate(
    directory: Directory,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A sub-folder of files for each class.")],
    task: Task = "auto",
    as_json: AsJson = False,
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Test a run's learner on a folder with a sub-folder for each class: accuracy per class and in total."""
    import json
    from dataclasses import asdict

    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.predict import evaluate as evaluating

    number, seed = _task_number(task), arguments.one_seed(directory)
    with arguments.code_of(directory, trust_code):
        found = evaluating(seed, folder, number, arguments.device(device))
    if as_json:
        accuracy = sum(one.right for one in found) / sum(one.files for one in found)
        mean = sum(one.right / one.files for one in found) / len(found)
        total = {"accuracy": accuracy, "mean_class_accuracy": mean, "classes": [asdict(one) for one in found]}
        print(json.dumps(total, indent=1))
    else:
        console().print(tables.class_accuracies(found))
