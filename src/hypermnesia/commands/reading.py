"""The commands that read what runs have left: show, metrics, list, report, export, predict."""

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
        tables.pasted(
            console(), matrix_file.parse_matrix(sys.stdin.read(matrix_file.LARGEST), "standard input")
        )
    else:
        tables.pasted(console(), matrix_file.read_matrix(source))


def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="benchmarks|approaches|nets|generators|inferences|recipes|options|runs"),
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
        typer.Option("--output", "-o", metavar="FILE", show_default="report.html; others to the terminal"),
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
    task: Annotated[int, typer.Option(help="Which task's network, from 1.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", show_default="DIR/seed-K/export")
    ] = None,
    peft: Annotated[
        bool, typer.Option("--peft", help="Of weights=lora: the task's adapter alone, in PEFT's format.")
    ] = False,
    trust_code: TrustCode = False,
) -> None:
    """Write a task's network as plain weights (safetensors) and as a torch.export program."""
    from hypermnesia.runs.export import export_adapter, export_task

    with arguments.code_of(directory, trust_code):
        seed = arguments.one_seed(directory)
        if peft:
            print(export_adapter(seed, task - 1, out))
            return
        files = export_task(seed, task - 1, out)
    for path in (files.weights, files.program, files.description):
        print(path)


def predict(
    directory: Directory,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    task: Annotated[str, typer.Option(help="auto, or a task's number from 1.")] = "auto",
    device: Device = "auto",
    trust_code: TrustCode = False,
) -> None:
    """Classify images, or texts, with a run's learner."""
    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.directory import task_names
    from hypermnesia.runs.predict import predict as predicting

    if task != "auto" and not (task.isascii() and task.isdecimal() and len(task) < 10):
        raise HypermnesiaError(f"--task {task}: expected auto or a task's number from 1")
    seed = arguments.one_seed(directory)
    number = None if task == "auto" else int(task) - 1
    with arguments.code_of(directory, trust_code):
        found = predicting(seed, images, number, arguments.device(device))
    console().print(tables.predictions(found, task_names(seed)))
