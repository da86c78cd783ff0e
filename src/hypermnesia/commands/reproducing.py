"""The command `reproduce`: its words and options, and what it prints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hypermnesia.commands import arguments
from hypermnesia.commands.arguments import DataDir, Device, Out, Stack, Track
from hypermnesia.core.errors import HypermnesiaError

# What is heavy is imported inside the command, as in app.py.

LEDGER = Path("docs/results.toml")


def reproduce(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RECIPE...",
            help="Names or patterns such as 'split-mnist-*'; `hypermnesia list recipes` shows all.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[str, typer.Option(help="full, or short for a quick look.")] = "full",
    seeds: Annotated[str | None, typer.Option(help="0,1,2 or 0..4.", show_default="the paper's")] = None,
    data_dir: DataDir = None,
    out: Out = None,
    device: Device = "auto",
    stack: Stack = "off",
    record: Annotated[
        Path | None,
        typer.Option(help="Put the figures into this ledger.", metavar="FILE", show_default=False),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            help="Write all published figures beside those of the ledger (--record, or docs/results.toml).",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    track: Track = None,
) -> None:
    """Run published settings and hold their figures against the published ones; exits with 1 if one differs.

    Of several recipes, one that cannot be run is told and the others go on. --out DIR then holds DIR/RECIPE.
    """
    from hypermnesia.commands import tables
    from hypermnesia.commands.arguments import parse_seeds
    from hypermnesia.commands.progress import console
    from hypermnesia.commands.reproduce import BUDGETS, matching, read_ledger
    from hypermnesia.commands.reproduce import record as write_down
    from hypermnesia.commands.reproduce import reproduce as reproducing
    from hypermnesia.commands.reproduction import write_page
    from hypermnesia.core.errors import unknown
    from hypermnesia.runs.recorder import Interrupted

    if budget not in BUDGETS:
        raise unknown("budget", budget, BUDGETS)
    if not names and page is None:
        raise HypermnesiaError(
            "name a recipe: hypermnesia reproduce split-mnist-hnet; `list recipes` shows all"
        )
    chosen = matching(names or [])
    numbers = None if seeds is None else parse_seeds(seeds)
    place, on, listen = arguments.data_dir(data_dir), arguments.device(device), arguments.listening(track)
    stacked = arguments.choice("--stack", stack, ("auto", "on", "off"))
    read_ledger(record or LEDGER)  # a damaged one is told before hours of training
    screen, codes = console(), [0]
    for number, name in enumerate(chosen, start=1):
        if len(chosen) > 1:
            screen.print(f"\nrecipe {number} of {len(chosen)}: {name}", style="bold")
        directory = out / name if out is not None and len(chosen) > 1 else out
        try:
            done = reproducing(
                name,
                budget,
                seeds=numbers,
                data_dir=place,
                out=directory,
                device=on,
                listen=listen,
                stacked=stacked,
            )
        except HypermnesiaError as error:
            if len(chosen) == 1 or isinstance(error, Interrupted):
                raise
            print(f"hypermnesia: {name}: {error}", file=sys.stderr)
            codes.append(error.exit_code)
            continue
        screen.print()
        screen.print(tables.reproduction(done))
        if record is not None:
            write_down(done, record)
            screen.print(f"\nrecorded in {record}", soft_wrap=True)
        codes.append(0 if done.passed else 1)
    if page is not None:
        write_page(read_ledger(record or LEDGER), page)
        screen.print(f"written: {page}", soft_wrap=True)
    if max(codes):
        raise typer.Exit(max(codes))
