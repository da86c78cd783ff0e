"""The command `sweep`: its words and options, and what it prints."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hypermnesia.commands import arguments
from hypermnesia.commands.arguments import DataDir, Device
from hypermnesia.core.errors import HypermnesiaError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from hypermnesia.sweep import Engine, SweepResult

# What is heavy is imported inside the functions, as in app.py.

ENGINES: dict[str, tuple[str, ...]] = {
    "local": ("workers", "threads", "gpus"),
    "ray": ("workers", "address", "cpus", "gpus", "retries"),
    "slurm": ("workers", "threads", "gpus", "slurm"),
}
"""Engine → the options that it takes."""

Words = Annotated[
    list[str] | None, typer.Argument(metavar="[BENCHMARK APPROACH] SPACE...", show_default=False)
]


def sweep(  # as long as its options
    words: Words = None,
    recipe: Annotated[
        str | None, typer.Option(help="Search a recipe's published grid, from its settings.", metavar="NAME")
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Settings to try.", show_default="the whole grid; 24 with a range")
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(
            help="Such as validation.scenarios.task.forgetting.",
            metavar="FIGURE",
            show_default="average accuracy in class, else domain, else task",
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="validation, first-tasks or transfer.")] = "validation",
    first_tasks: Annotated[int, typer.Option(help="Tasks that trials see under first-tasks.")] = 3,
    transfer: Annotated[
        str | None, typer.Option(help="The benchmark to tune on under transfer.", metavar="BENCHMARK")
    ] = None,
    algorithm: Annotated[
        str | None, typer.Option(help="grid, random or tpe.", show_default="grid if it is whole, else tpe")
    ] = None,
    prune: Annotated[
        bool | None,
        typer.Option("--prune/--no-prune", help="Give up what falls behind.", show_default="but for a grid"),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of every trial: 0,1,2 or 0..4.")] = "0",
    final_seeds: Annotated[int, typer.Option(help="Fresh seeds that the winner is run on test with.")] = 3,
    seed: Annotated[int, typer.Option(help="Of the search itself.")] = 0,
    engine: Annotated[str, typer.Option(help="local, ray or slurm.")] = "local",
    workers: Annotated[int | None, typer.Option(help="Trials side by side.", show_default=False)] = None,
    threads: Annotated[
        int | None, typer.Option(help="CPU threads of a trial (local, slurm).", show_default=False)
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(help="CPUs of a trial, or a fraction (ray).", show_default="1")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(
            help="GPUs in all (local), of a trial (ray, slurm); ray takes fractions.",
            show_default="all (local), 0 (ray, slurm)",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="HOST:PORT, ray://HOST:PORT or auto (ray).", show_default="a cluster of its own"),
    ] = None,
    retries: Annotated[
        int | None, typer.Option(help="Restarts of a trial whose worker is lost (ray).", show_default="3")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(help="For sbatch: slurm_partition=gpu, timeout_min=600.", metavar="NAME=VALUE"),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="A database for several machines.", metavar="URL", show_default="a file in DIR"),
    ] = None,
    stack: Annotated[
        str,
        typer.Option(
            help="Let each worker train trials that differ in numbers only as one program (auto), or off. "
            "Equal but for rounding; not for tpe and pruning."
        ),
    ] = "off",
    data_dir: DataDir = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the search goes.", metavar="DIR", show_default="below runs/")
    ] = None,
    device: Device = "auto",
) -> None:
    """Search for good settings without looking at the test part: sweep BENCHMARK APPROACH SPACE...

    SPACE: drift.beta=0.01,0.1,1 (a grid), drift.beta=log(1e-4,1), train.clip=uniform(0.1,2),
    train.batch_size=int(16,256), net.hidden=[100,100],[400,400]; a single value holds for all trials. The winner is
    then run on test with fresh seeds. The same command goes on with a search that was stopped.
    """
    from hypermnesia.commands.arguments import parse_seeds
    from hypermnesia.commands.progress import console
    from hypermnesia.commands.sweep_table import shown
    from hypermnesia.experiments import recipes
    from hypermnesia.sweep import SweepOptions
    from hypermnesia.sweep import sweep as search

    found = None if recipe is None else recipes.recipe(recipe)
    names, space = arguments.sorted_words(words)
    benchmark, approach = _names(names, found)
    given = {"workers": workers, "threads": threads, "cpus": cpus, "gpus": gpus, "address": address}
    given |= {"retries": retries, "slurm": slurm}
    chosen, where = _engine(engine, device, {key: value for key, value in given.items() if value is not None})
    options = SweepOptions(
        trials=trials,
        objective=objective,
        protocol=protocol,  # pyright: ignore[reportArgumentType] (checked there)
        first_tasks=first_tasks,
        transfer=transfer,
        algorithm=algorithm,  # pyright: ignore[reportArgumentType] (checked there)
        prune=prune,
        seeds=parse_seeds(seeds),
        final_seeds=final_seeds,
        seed=seed,
    )
    page = console()
    with shown(page) as listener:
        result = search(
            benchmark,
            approach,
            space,
            out,
            options=options,
            engine=chosen,
            recipe=found,
            storage=storage,
            data_dir=arguments.data_dir(data_dir),
            device=where,
            listener=listener,
            stack=arguments.choice("--stack", stack, ("auto", "off")) == "auto",
        )
    _say(page, result, final_seeds)


def _names(names: list[str], recipe: Any) -> tuple[str, str]:
    if recipe is not None and not names:
        return recipe.benchmark, recipe.approach
    if recipe is not None:
        raise HypermnesiaError(f"the recipe names benchmark and approach; {' '.join(names)!r} is too much")
    if len(names) != 2:
        raise HypermnesiaError(
            "name a benchmark, an approach and what to search: "
            "hypermnesia sweep permuted-digits hnet drift.beta=0,0.001,0.01"
        )
    return names[0], names[1]


def _engine(name: str, device: str, said: dict[str, Any]) -> "tuple[Engine, str]":
    """The engine of that name, made of the options that were `said`, and the device of its trials."""
    from hypermnesia import sweep as engines
    from hypermnesia.experiments.config import parse_words

    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    for key in said:
        if key not in ENGINES[name]:
            takers = " and ".join(other for other, options in ENGINES.items() if key in options)
            raise HypermnesiaError(f"--{key} is an option of --engine {takers}, not of {name}")
    if name != "ray" and "gpus" in said:
        if said["gpus"] != int(said["gpus"]):
            raise HypermnesiaError(f"--gpus {said['gpus']:g}: --engine {name} deals out whole GPUs only")
        said["gpus"] = int(said["gpus"])
    where = _device(name, device, said)
    if name == "ray":
        return engines.Ray(**said), where
    if name == "slurm":
        return engines.Slurm(parameters=parse_words(said.pop("slurm", [])), **said), where
    return engines.Local(**said), where


def _device(engine: str, device: str, said: dict[str, Any]) -> str:
    """The device of the trials; with the GPUs that it takes put into `said` if they were not."""
    if engine != "local":  # the GPUs are on other machines, and this one need not have any
        if device not in ("auto", "cpu", "cuda"):
            raise unknown("device", device, ("auto", "cpu", "cuda"))
        where = device if device != "auto" else "cuda" if said.get("gpus") else "cpu"
        if where == "cuda":
            said.setdefault("gpus", 1)
        return where
    where = arguments.device(device)
    if where == "cuda" and "gpus" not in said:
        import torch

        said["gpus"] = torch.cuda.device_count()
    return where


def _say(page: "Console", result: "SweepResult", final_seeds: int) -> None:
    from hypermnesia.commands import tables
    from hypermnesia.sweep.space import setting_words

    page.print()
    best = result.best
    if best is not None:
        said = " ".join(setting_words(best.settings))
        page.print(
            f"trial {best.number} is the best: {said} ({result.objective} {best.value:.4f})", soft_wrap=True
        )
    if result.final is not None:
        seeds = ", ".join(map(str, result.final["seeds"]))
        page.print(f"on test, with seeds {seeds}:\n", soft_wrap=True)
        summary = result.directory / result.final["directory"] / "summary.json"
        page.print(tables.summary(json.loads(summary.read_bytes())))
    elif final_seeds:
        page.print(
            "other machines still have trials in hand; the same command, later, runs the winner on test"
        )
    page.print(f"\nfiles: {result.directory}   more: hypermnesia report {result.directory}", soft_wrap=True)
