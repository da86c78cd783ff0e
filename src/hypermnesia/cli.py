"""The command line. Each command reads its words, calls the function of the same name, and prints what came of it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hypermnesia import __version__, arguments, sweep_command
from hypermnesia.errors import HypermnesiaError

# What is heavy is imported inside the commands: `hypermnesia --help` waits for none of it.

app = typer.Typer(
    name="hypermnesia",
    help="Train a network on a sequence of tasks without forgetting the earlier ones.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULTS = ("split-digits", "hnet")
LEDGER = Path("docs/results.toml")

Words = Annotated[list[str] | None, typer.Argument(metavar="WORD...", show_default=False)]
Directory = Annotated[Path, typer.Argument(metavar="DIR", help="A run's directory, or one seed's in it.")]
Seeds = Annotated[str, typer.Option(help="0,1,2 or 0..4 (both ends included).")]
DataDir = Annotated[
    Path | None, typer.Option(help="Where data sets lie as NAME/*.parquet.", metavar="P", show_default=False)
]
Out = Annotated[
    Path | None, typer.Option(help="Where the run goes.", metavar="DIR", show_default="below runs/")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Stack = Annotated[
    str,
    typer.Option(
        help="Train all seeds as one program: on, off, or auto where it pays. Equal but for rounding."
    ),
]
StackWherePays = Annotated[
    str,
    typer.Option(
        help="Train the seeds of an approach as one program where it pays (auto), or off. Equal but for rounding."
    ),
]
Track = Annotated[
    list[str] | None, typer.Option(help="Also log to csv, tensorboard, wandb or mlflow.", show_default=False)
]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 not reproduced, 2 bad input, 3 a run failed, 130 and 143 stopped.

    What a user can mend is told in one message. Any other error is a defect of ours and keeps its traceback.
    """
    try:
        app(args=None if argv is None else list(argv), prog_name="hypermnesia")
    except HypermnesiaError as error:
        print(f"hypermnesia: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _version(asked: bool) -> None:
    if asked:
        print(f"hypermnesia {__version__}")
        raise typer.Exit


@app.callback()
def _app(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    return


# ------------------------------------------------------------------------------------------------------- running


@app.command()
def run(
    words: Words = None,
    seeds: Seeds = "0",
    data_dir: DataDir = None,
    out: Out = None,
    device: Device = "auto",
    config: Annotated[
        Path | None, typer.Option(help="Settings from a TOML file; words win over them.", metavar="FILE")
    ] = None,
    stack: Stack = "off",
    track: Track = None,
) -> None:
    """Learn a stream of tasks: run [BENCHMARK] [APPROACH] [key=value ...]

    Without words: split-digits hnet. Options of the run are key=value words such as drift.beta=0.1, or beta=0.1 where
    that is unique; `hypermnesia list options APPROACH` shows them. A finished run is recognised, an interrupted one
    resumed.
    """
    from hypermnesia import experiment, runs, tables
    from hypermnesia.display import console
    from hypermnesia.seeds import parse_seeds

    names, settings = arguments.sorted_words(words)
    if len(names) > 2:
        raise HypermnesiaError(f"run takes one benchmark and one approach; {names[2]!r} is one word too many")
    numbers, place = parse_seeds(seeds), arguments.data_dir(data_dir)
    file = arguments.settings_of(config)
    found = [file.pop(key, default) for key, default in zip(("benchmark", "approach"), DEFAULTS, strict=True)]
    benchmark, approach = [*names, *map(str, found[len(names) :])]
    cfg = experiment.resolve(benchmark, approach, settings, file)
    page = console()
    for note in cfg.notes:
        page.print(f"note: {note}")
    directory = out or runs.default_directory(cfg)
    listen = arguments.listening(track)
    summary = runs.execute_seeds(
        cfg,
        numbers,
        directory,
        data_dir=place,
        device=arguments.device(device),
        listen=listen,
        stacked=arguments.choice("--stack", stack, ("auto", "on", "off")),
    )
    page.print()
    page.print(tables.summary(summary))
    page.print()
    page.print(tables.costs(summary))
    page.print(f"\nfiles: {directory}   more: hypermnesia show {directory}", soft_wrap=True)


@app.command()
def resume(
    directory: Directory,
    words: Words = None,
    data_dir: DataDir = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="as before")] = None,
    track: Track = None,
) -> None:
    """Go on with an interrupted run, from its last checkpoint and with its own configuration."""
    from hypermnesia import runs, tables
    from hypermnesia.display import console

    if words:
        raise HypermnesiaError(
            f"a run is resumed with its own configuration, so {' '.join(words)!r} cannot be said; "
            "start another one with: hypermnesia run"
        )
    place, chosen, listen = (
        arguments.data_dir(data_dir),
        device and arguments.device(device),
        arguments.listening(track),
    )
    seeds = runs.seed_directories(directory)
    for seed in seeds:
        runs.resume(seed, place, chosen, listen)
    root = directory.parent if seeds == [directory] and directory.name.startswith("seed-") else directory
    page = console()
    page.print()
    page.print(tables.summary(runs.summarise(root)))


@app.command()
def compare(
    words: Words = None,
    seeds: Seeds = "0",
    data_dir: DataDir = None,
    out: Out = None,
    device: Device = "auto",
    bounds: Annotated[bool, typer.Option(help="Show the lower and the upper bound too.")] = True,
    stack: StackWherePays = "off",
    track: Track = None,
) -> None:
    """Compare approaches: compare BENCHMARK APPROACH... [key=value ...]

    Commas in values make variants (cut=none,layer1). A key reaches the approaches that have it. What is finished is
    not run again.
    """
    from hypermnesia import tables
    from hypermnesia.compare import compare as comparing
    from hypermnesia.display import console
    from hypermnesia.seeds import parse_seeds

    names, settings = arguments.sorted_words(words)
    if len(names) < 2:
        raise HypermnesiaError("name a benchmark and approaches: hypermnesia compare split-digits hnet er")
    found = comparing(
        names[0],
        names[1:],
        settings,
        parse_seeds(seeds),
        data_dir=arguments.data_dir(data_dir),
        out=out,
        device=arguments.device(device),
        bounds=bounds,
        listen=arguments.listening(track),
        stack=arguments.choice("--stack", stack, ("auto", "off")) == "auto",
    )
    page = console()
    page.print()
    page.print(tables.comparison(found))
    for text in found.skipped:
        print(f"hypermnesia: skipped: {text}", file=sys.stderr)
    for text in found.failed:
        print(f"hypermnesia: failed: {text}", file=sys.stderr)
    page.print(f"\nreport: hypermnesia report {' '.join(map(str, found.directories))}", soft_wrap=True)
    if found.failed:
        raise typer.Exit(3)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(metavar="RECIPE", help="`hypermnesia list recipes` shows all.")],
    budget: Annotated[str, typer.Option(help="full, or short for a quick look.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="0,1,2 or 0..4.", show_default="the recipe's")] = None,
    data_dir: DataDir = None,
    out: Out = None,
    device: Device = "auto",
    record: Annotated[
        Path | None,
        typer.Option(help="Put the figures into this ledger.", metavar="FILE", show_default=False),
    ] = None,
    track: Track = None,
) -> None:
    """Run a published setting and hold its figures against the published ones; exits with 1 if they fall short."""
    from hypermnesia import tables
    from hypermnesia.display import console
    from hypermnesia.errors import unknown
    from hypermnesia.reproduce import BUDGETS, read_ledger
    from hypermnesia.reproduce import record as write_down
    from hypermnesia.reproduce import reproduce as reproducing
    from hypermnesia.seeds import parse_seeds

    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    if record is not None:
        read_ledger(record)  # a damaged one is told before hours of training
    done = reproducing(
        name,
        budget,
        seeds=None if seeds is None else parse_seeds(seeds),
        data_dir=arguments.data_dir(data_dir),
        out=out,
        device=arguments.device(device),
        listen=arguments.listening(track),
    )
    page = console()
    page.print()
    page.print(tables.reproduction(done))
    if record is not None:
        write_down(done, record)
        page.print(f"\nrecorded in {record}", soft_wrap=True)
    if not done.passed:
        raise typer.Exit(1)


app.command()(sweep_command.sweep)


@app.command()
def learn(
    directory: Directory,
    data: Annotated[
        str,
        typer.Argument(
            metavar="NEW_DATA", help="A folder with a sub-folder for each class, or parquet files."
        ),
    ],
    words: Words = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the new run goes.", metavar="DIR", show_default="DIR+NEW_DATA")
    ] = None,
    apart: Annotated[
        bool,
        typer.Option(
            "--apart", help="Its classes are new ones, also where the run has some of the same name."
        ),
    ] = False,
    retest: Annotated[
        bool, typer.Option("--retest", help="Test the earlier tasks too, on the benchmark's own data.")
    ] = False,
    data_dir: DataDir = None,
    device: Device = "auto",
    track: Track = None,
) -> None:
    """Let a finished run learn further classes, without the data of the earlier ones: learn DIR NEW_DATA [key=value ...]

    DIR stays as it is; the new run can be resumed, predicted with, exported and learned from in its turn.
    """
    from hypermnesia import tables
    from hypermnesia.display import console
    from hypermnesia.learn import learn as learned

    found = learned(
        directory,
        data,
        words or [],
        out=out,
        apart=apart,
        retest=retest,
        data_dir=arguments.data_dir(data_dir),
        device=arguments.device(device),
        listen=arguments.listening(track),
    )
    page = console()
    page.print()
    page.print(tables.summary(found.summary))
    for kind, names in (("new", found.classes), ("known before", found.known)):
        if names:
            page.print(f"{kind}: {', '.join(names)}", soft_wrap=True)
    page.print(
        f"files: {found.directory}   more: hypermnesia predict {found.directory} IMAGE...", soft_wrap=True
    )


# ------------------------------------------------------------------------------------------------------- looking


@app.command()
def show(
    directory: Directory,
    variants: Annotated[bool, typer.Option("--variants", help="Every definition of every metric.")] = False,
) -> None:
    """Show accuracy matrices and metrics of a run."""
    from hypermnesia import tables
    from hypermnesia.display import console
    from hypermnesia.results import summary_of

    results, page = arguments.results(directory), console()
    tables.show_results(page, results, variants)
    summary = summary_of(results)
    page.print(tables.summary(summary))
    page.print()
    page.print(tables.costs(summary))


@app.command()
def metrics(
    source: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A matrix as CSV (- for standard input), or a run.")
    ],
) -> None:
    """Work out every metric of an accuracy matrix: a row for each task learned, a column for each test."""
    from hypermnesia import pasted, tables
    from hypermnesia.display import console

    if source.is_dir():
        tables.show_results(console(), arguments.results(source), with_variants=True)
    elif str(source) == "-":
        tables.pasted(console(), pasted.parse_matrix(sys.stdin.read(pasted.LARGEST), "standard input"))
    else:
        tables.pasted(console(), pasted.read_matrix(source))


@app.command(name="list")
def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="benchmarks|approaches|nets|generators|inferences|recipes|options"),
    ],
    words: Words = None,
    ledger: Annotated[Path, typer.Option(help="Where recipes' reproductions are recorded.")] = LEDGER,
) -> None:
    """List what there is: list benchmarks, ..., list options APPROACH [BENCHMARK] [key=value ...]"""
    from hypermnesia.display import console
    from hypermnesia.listing import listed

    console().print(listed(what, words or [], ledger))


@app.command()
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs, or parents of runs.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default="report.html; others to the terminal"),
    ] = None,
    format: Annotated[str, typer.Option(help="html, md, latex or csv.")] = "html",
) -> None:
    """Report runs on one page, or as a table for a paper."""
    from hypermnesia.report import write

    made = write(directories, output or (Path("report.html") if format == "html" else None), format)
    print(made if isinstance(made, Path) else made.rstrip("\n"))


# -------------------------------------------------------------------------------------------------- taking it away


@app.command()
def export(
    directory: Directory,
    task: Annotated[int, typer.Option(help="Which task's network, from 1.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="OUT", show_default="DIR/seed-K/export")
    ] = None,
) -> None:
    """Write a task's network as plain weights (safetensors) and as a torch.export program."""
    from hypermnesia.export import export_task

    files = export_task(arguments.one_seed(directory), task - 1, out)
    for path in (files.weights, files.program, files.description):
        print(path)


@app.command()
def predict(
    directory: Directory,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")],
    task: Annotated[str, typer.Option(help="auto, or a task's number from 1.")] = "auto",
    device: Device = "auto",
) -> None:
    """Classify images, or texts, with a run's learner."""
    from hypermnesia import tables
    from hypermnesia.display import console
    from hypermnesia.predict import predict as predicting
    from hypermnesia.rundir import task_names

    if task != "auto" and not (task.isascii() and task.isdecimal() and len(task) < 10):
        raise HypermnesiaError(f"--task {task}: expected auto or a task's number from 1")
    seed = arguments.one_seed(directory)
    number = None if task == "auto" else int(task) - 1
    found = predicting(seed, images, number, arguments.device(device))
    console().print(tables.predictions(found, task_names(seed)))
