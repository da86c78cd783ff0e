"""The command line. Each command reads its words, calls the function of the same name, and prints what came of it."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, NoReturn, ParamSpec

import typer

from hypermnesia import __version__
from hypermnesia.commands import arguments, interrupts, output, own_code, reading
from hypermnesia.commands.arguments import (
    DataDir,
    Device,
    Directory,
    Out,
    Seeds,
    Stack,
    StackWherePays,
    Track,
    TrustCode,
    Words,
)
from hypermnesia.commands.new import new
from hypermnesia.commands.reproducing import reproduce
from hypermnesia.commands.sweep import sweep
from hypermnesia.core.errors import HypermnesiaError, NeedsEnvironment, RunFailed, refused
from hypermnesia.core.printable import printable
from hypermnesia.training import threads

# What is heavy is imported inside the commands: `hypermnesia --help` waits for none of it.

app = typer.Typer(
    name="hypermnesia",
    help="Train a network on a sequence of tasks without forgetting the earlier ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULTS = ("split-digits", "hnet")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 not reproduced, 2 bad input, 3 a run failed, 130 and 143 stopped.

    What a user can mend is told in one message, and so is what the operating system refuses; an error in the user's own
    code (a network, a method) is told with their lines. Any other error is a defect of ours and keeps its traceback.
    """
    threads.quieten()
    with output.kept(), interrupts.heeded():
        try:
            app(args=None if argv is None else list(argv), prog_name="hypermnesia")
        except NeedsEnvironment as error:
            if argv is not None:  # the process is somebody else's
                _end(str(error), error.exit_code)
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **error.variables})
        except HypermnesiaError as error:
            _end(str(error), error.exit_code)
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                _end(refused(error), HypermnesiaError.exit_code)
            if (own := own_code.told(error)) is None:
                raise
            _end(f"code of yours failed:\n{own}", RunFailed.exit_code, breaks=True)


def _end(text: str, code: int, breaks: bool = False) -> NoReturn:
    print(f"hypermnesia: {printable(text, breaks)}", file=sys.stderr)
    raise SystemExit(code) from None


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


P = ParamSpec("P")


def _never_silent(command: Callable[P, None], aside: bool = False) -> Callable[P, None]:
    """The command, which shows what takes long in it: imports, decoding, evaluations.

    `aside`: on standard error, and only if that is a terminal, since a program may read what the command prints.
    """

    @wraps(command)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        from hypermnesia.commands.terminal import console, showing_work
        from hypermnesia.core.waiting import busy

        page = console(stderr=aside)
        with nullcontext() if aside and not page.is_terminal else showing_work(page):
            with busy("loading torch"):
                import hypermnesia.commands.progress
                import hypermnesia.runs.execute  # noqa: F401
            command(*args, **kwargs)

    return shown


# ------------------------------------------------------------------------------------------------------- running


@app.command()
@_never_silent
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

    Without words: split-digits hnet. `hypermnesia list benchmarks` and `list approaches` show the names, `list options
    APPROACH` the key=value words, such as drift.beta=0.1, or beta=0.1 where that is unique. A finished run is
    recognised, an interrupted one resumed.
    """
    from hypermnesia.commands.arguments import parse_seeds
    from hypermnesia.commands.progress import console
    from hypermnesia.core.waiting import busy
    from hypermnesia.experiments.resolve import resolve
    from hypermnesia.runs.directory import default_directory
    from hypermnesia.runs.execute import execute_seeds

    names, settings = arguments.sorted_words(words)
    numbers, place = parse_seeds(seeds), arguments.data_dir(data_dir)
    file = arguments.settings_of(config)
    defaults = str(file.pop("benchmark", DEFAULTS[0])), str(file.pop("approach", DEFAULTS[1]))
    benchmark, approach = arguments.benchmark_and_approach(names, defaults)
    with busy("reading the settings"):
        cfg = resolve(benchmark, approach, settings, file)
    page = console()
    for note in cfg.notes:
        page.print(f"note: {note}")
    directory = out or default_directory(cfg)
    listen = arguments.listening(track)
    summary = execute_seeds(
        cfg,
        numbers,
        directory,
        data_dir=place,
        device=arguments.device(device),
        listen=listen,
        stacked=arguments.choice("--stack", stack, ("auto", "on", "off")),
    )
    _show(summary, directory)


def _show(summary: Mapping[str, Any], directory: Path) -> None:
    """What came of a run, its cost, and where to look further."""
    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console

    page = console()
    page.print()
    page.print(tables.summary(summary))
    page.print()
    page.print(tables.costs(summary))
    page.print(f"\nfiles: {directory}   more: hypermnesia show {directory}", soft_wrap=True)


@app.command()
@_never_silent
def resume(
    directory: Directory,
    words: Words = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where data sets lie as NAME/*.parquet.", metavar="DIR", show_default="as before"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="as before")] = None,
    track: Track = None,
    trust_code: TrustCode = False,
) -> None:
    """Go on with an interrupted run, from its last checkpoint and with its own configuration.

    Of a run with several seeds all are finished, also those that it had not come to; of DIR/seed-K that one.
    """
    from hypermnesia.runs.execute import resume_seeds

    if words:
        raise HypermnesiaError(
            f"a run is resumed with its own configuration, so {' '.join(words)!r} cannot be said; "
            "start another one with: hypermnesia run"
        )
    place, chosen, listen = (
        arguments.data_dir(data_dir, environment=False),
        device and arguments.device(device),
        arguments.listening(track),
    )
    with arguments.code_of(directory, trust_code):
        summary = resume_seeds(directory, place, chosen, listen)
    _show(summary, directory)


@app.command()
@_never_silent
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
    from hypermnesia.commands import tables
    from hypermnesia.commands.arguments import parse_seeds
    from hypermnesia.commands.compare import compare as comparing
    from hypermnesia.commands.progress import console

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
    page.print(tables.comparison(found, page.width))
    for note in found.notes:
        page.print(f"note: {note}", soft_wrap=True)
    for text in found.skipped:
        print(f"hypermnesia: skipped: {printable(text)}", file=sys.stderr)
    for text in found.failed:
        print(f"hypermnesia: failed: {printable(text)}", file=sys.stderr)
    page.print(f"\nreport: hypermnesia report {' '.join(map(str, found.directories))}", soft_wrap=True)
    if found.failed:
        raise typer.Exit(3)


app.command()(_never_silent(reproduce))
app.command()(_never_silent(sweep, aside=True))


@app.command()
@_never_silent
def learn(
    directory: Directory,
    data: Annotated[
        str,
        typer.Argument(
            metavar="NEW_DATA",
            help="A folder with a sub-folder for each class; parquet, CSV or .npz files; or hub:OWNER/NAME.",
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
    shots: Annotated[
        int | None, typer.Option(help="Learn from so many samples of each class (stream.shots).", metavar="N")
    ] = None,
    retest: Annotated[
        bool | None,
        typer.Option(
            "--retest/--no-retest",
            help="Test the earlier tasks too, on the run's own data.",
            show_default="where these are",
        ),
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    track: Track = None,
    trust_code: TrustCode = False,
) -> None:
    """Let a finished run learn further classes, without the data of the earlier ones: learn DIR NEW_DATA [key=value ...]

    DIR stays as it is; the new run can be resumed, predicted with, exported and learned from in its turn.
    """
    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.learn import learn as learned

    with arguments.code_of(directory, trust_code):
        found = learned(
            directory,
            data,
            [*(words or []), *([] if shots is None else [f"stream.shots={shots}"])],
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
            page.print(f"{kind}: {', '.join(map(printable, names))}", soft_wrap=True)
    page.print(tables.kept(found.kept, found.untested), soft_wrap=True)
    page.print(
        f"files: {found.directory}   more: hypermnesia predict {found.directory} IMAGE...", soft_wrap=True
    )


@app.command()
@_never_silent
def unlearn(
    directory: Directory,
    classes: Annotated[
        list[str], typer.Argument(metavar="CLASS...", help="Names of classes that the run has learned.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Where the new run goes.", metavar="DIR", show_default="DIR-without-CLASSES"),
    ] = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    track: Track = None,
    trust_code: TrustCode = False,
) -> None:
    """Take classes out of a finished run, as if it had never seen them: unlearn DIR CLASS...

    For classifiers in closed form (list approaches says which are), exactly; others say that they cannot. DIR stays as it is.
    """
    from hypermnesia.commands import tables
    from hypermnesia.commands.progress import console
    from hypermnesia.runs.unlearn import unlearn as without

    with arguments.code_of(directory, trust_code):
        found = without(
            directory,
            classes,
            out=out,
            data_dir=arguments.data_dir(data_dir),
            device=arguments.device(device),
            listen=arguments.listening(track),
        )
    page = console()
    page.print()
    page.print(tables.summary(found.summary))
    page.print(
        f"taken out: {', '.join(map(printable, found.classes))} ({found.samples} samples)", soft_wrap=True
    )
    page.print(
        f"files: {found.directory}   more: hypermnesia predict {found.directory} IMAGE...", soft_wrap=True
    )


app.command()(new)
app.command()(reading.report)
app.command()(_never_silent(reading.show, aside=True))
app.command()(_never_silent(reading.metrics, aside=True))
app.command(name="list")(_never_silent(reading.list_, aside=True))
app.command()(_never_silent(reading.export, aside=True))
app.command()(_never_silent(reading.predict, aside=True))
app.command()(_never_silent(reading.evaluate, aside=True))
