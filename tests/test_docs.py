"""The README and the pages of docs/ as a reader would use them: their Python runs, and their links lead somewhere.

The blocks of a page are one script. A block whose first line is `# NAME.py` is that file instead.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

import hypermnesia
from hypermnesia.commands.app import app
from hypermnesia.commands.arguments import sorted_words
from hypermnesia.commands.reproduce import read_ledger
from hypermnesia.commands.reproduction import page as reproduction_page
from hypermnesia.data import BENCHMARKS, find_benchmark
from hypermnesia.experiments import recipes
from hypermnesia.experiments.approaches import APPROACHES
from hypermnesia.experiments.config import keys
from hypermnesia.experiments.config.words import write_value
from hypermnesia.experiments.resolve import resolve, takes

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "docs/adapters.md",
    "docs/api.md",
    "docs/architecture.md",
    "docs/new-method.md",
    "docs/parts.md",
    "docs/search.md",
    "docs/your-own.md",
]
NEEDED = {"docs/adapters.md": ("lightning", "avalanche", "datasets")}
"""Packages that a page is about, and that need not be installed."""
ALL_PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


PRELUDE = """import sys, types
from importlib.util import find_spec
import torch
if find_spec("wandb") is None:
    sys.modules["wandb"] = types.ModuleType("wandb")
torchvision = torch.library.Library("torchvision", "FRAGMENT")
for schema in ("nms(Tensor dets, Tensor scores, float iou_threshold)", "qnms(Tensor dets, Tensor scores, float iou_threshold)"):
    if not hasattr(torch.ops.torchvision, schema.partition("(")[0]):
        torchvision.define(f"{schema} -> Tensor")
"""
"""What others' packages import and need not have here: see tests/adapters/conftest.py."""


def blocks(page: str) -> list[str]:
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def shortened(code: str) -> str:
    """The same code with two steps per task."""
    return re.sub(r"iterations=\d+", "iterations=2", code)


def test_blocks_are_found_and_shortened():
    assert all(blocks(page) for page in PAGES)
    assert "iterations=2)" in shortened("TrainOptions(iterations=300)")


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs(page: str, tmp_path: Path):
    for package in NEEDED.get(page, ()):
        if find_spec(package) is None:
            pytest.skip(f"the package {package} is not installed")
    script = [PRELUDE] if page in NEEDED else []
    for block in map(shortened, blocks(page)):
        if named := FILE.match(block):
            (tmp_path / named[1]).write_text(block, encoding="utf-8")
        else:
            script.append(block)
    (tmp_path / "page.py").write_text("\n".join(script), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *([] if page in NEEDED else ["-W", "error"]), "page.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def said_on(page: str) -> list[list[str]]:
    """The words behind every `$ hypermnesia` of a page."""
    lines = "".join(CONSOLE.findall((ROOT / page).read_text("utf-8"))).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    return [words[1:] for words in commands if words[0].endswith("hypermnesia")]


INLINE = re.compile(r"`hypermnesia\s((?:run|compare)\s[^`…]+)`")


def said_within(page: str) -> list[list[str]]:
    """The words of the runs and comparisons that stand within sentences, but for those with names to fill in."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [shlex.split(said) for said in INLINE.findall(text) if not re.search(r"BENCHMARK|--help", said)]


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if said_on(page) or said_within(page)])
def test_the_commands_of_a_page_are_understood(page: str):
    """Their options are there, and runs of what needs no file of the reader's have their settings."""
    for name, *words in said_on(page) + said_within(page):
        context = get_command(app).commands[name].make_context(name, list(words))
        names, settings = sorted_words(context.params.get("words"))
        if name in ("run", "compare") and not any(each.startswith("python:") for each in names):
            plain = [word for word in settings if not re.search(r"python:|\.base=", word)]
            single = [word if "[" in word else word.partition(",")[0] for word in plain]
            for approach in names[1:]:
                resolve(names[0], approach, single if name == "run" else takes(names[0], approach, single))


def prepared(page: str, place: Path) -> None:
    """The files that the commands of a page are about."""
    for block in blocks(page):
        if named := FILE.match(block):
            (place / named[1]).write_text(block, encoding="utf-8")
    rng = np.random.default_rng(0)
    for folder, classes in (("pictures", 4), ("my/images", 8), ("more", 2)):
        for name in ("owl", "cat", "ant", "bee", "cow", "dog", "eel", "fox")[:classes]:
            (place / folder / name).mkdir(parents=True)
            for i in range(5):
                pixels = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / folder / name / f"{i}.png")
    for name in ("cook", "sail", "read", "sing"):
        (place / "texts" / name).mkdir(parents=True)
        for i in range(5):
            (place / "texts" / name / f"{i}.txt").write_text(f"{name} {i} times, and then again")
    rows = rng.normal(size=(60, 3)).tolist()
    lines = ["a,b,label", *(f"{a},{b},{c}" for a, b, c in rows)]
    (place / "features.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/your-own.md"])
def test_the_commands_of_a_page_run(page: str, command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """All but searches and those whose data are a download or a directory of the reader's, with two steps per task."""
    prepared(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    apart = re.compile(r"--data-dir|…|^sweep")
    wanted = [words for words in said_on(page) if not apart.search(shlex.join(words))]
    assert wanted
    for name, *words in wanted:
        short = ["train.iterations=2", "train.threads=1"] if name in ("run", "compare", "learn") else []
        done = command(name, *words, *short)
        assert done.code == 0, (name, words, done.err)


DOOR = re.compile(
    r"^\| ([^|]+) \| ([^|]+) \| (`[^|]+`) \| \[[^\]]+\]\(([\w-]+\.md)#([\w-]+)\) \| `(.+)` \|$", re.MULTILINE
)


def test_every_door_has_its_test_its_example_and_its_error():
    text = (ROOT / "docs/doors.md").read_text("utf-8")
    doors = DOOR.findall(text)
    rows = [line for line in text.splitlines() if line.startswith("| ") and "| tried with |" not in line]
    assert len(doors) == len(rows) > 25
    tests = {path: path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py")}
    told = re.sub(r"\\(.)", r"\1", "\n".join(tests.values()))  # as the patterns of pytest.raises mean it
    for what, _, named, page, anchor, error in doors:
        for file, name in re.findall(r"`([\w/]+\.py)::(\w+)`", named):
            assert f"def {name}(" in tests[ROOT / "tests" / file], what
        section = example(f"docs/{page}", anchor)
        assert 0 < len(section.splitlines()) <= 30, (what, page, anchor)
        assert error in told, (what, error)


def example(page: str, anchor: str) -> str:
    """The first block of code below the heading that the anchor is of."""
    parts = re.split(r"^##+ (.+)$", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        if re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") == anchor:
            found = re.search(r"^```\w+\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
            return found[1] if found else ""
    return ""


def test_every_command_and_every_approach_has_its_line():
    told = {page: (ROOT / page).read_text("utf-8") for page in ("docs/commands.md", "docs/methods/index.md")}
    rows = [line.split("|")[1] for line in told["docs/commands.md"].splitlines() if line.startswith("| `")]
    assert {re.findall(r"\w+", row)[0] for row in rows} == COMMANDS
    names = [
        line.split("|")[1] for line in told["docs/methods/index.md"].splitlines() if line.startswith("| `")
    ]
    assert {name for row in names for name in re.findall(r"`([^`]+)`", row)} == set(APPROACHES)


def test_the_reference_has_every_public_name_by_where_it_is_defined():
    """A name of a package that is a module of it as well (`hypermnesia.data.load`) would show the module."""
    listed = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference.md").read_text("utf-8"), re.MULTILINE)
    public = [getattr(hypermnesia, name) for name in hypermnesia.__all__ if name != "__version__"]
    assert sorted(listed) == sorted(f"{each.__module__}.{each.__qualname__}" for each in public)


def test_the_defaults_on_a_methods_page_are_those_of_the_code():
    wrong, seen = [], 0
    for name in APPROACHES:
        page = ROOT / f"docs/methods/{name}.md"
        text = page.read_text("utf-8").partition("| option | default |")[2] if page.is_file() else ""
        if not text:
            continue
        known = keys(resolve("split-digits", name).sections)
        for cell, said in re.findall(r"^\| (`[^|*]+) \| ([^|]+) \|", text.partition("\n\n")[0], re.MULTILINE):
            options = [option.strip(".") for option in re.findall(r"`([\w.]+)`", cell)]
            given = said.split(", ") if len(options) > 1 else [said.split()[0].rstrip(":,")]
            for option, value in zip(options, given, strict=True):
                own = next(info.default for key, info in known.items() if f".{key}".endswith(f".{option}"))
                wrong += [] if same(value.strip("`"), own) else [(name, option, value, own)]
                seen += 1
    assert wrong == [] and seen > 90


def same(said: str, value: object) -> bool:
    """Whether a page says the value of an option."""
    try:
        return float(said) == value
    except ValueError:
        return said == write_value(list(value) if isinstance(value, tuple) else value).strip("[]")


def test_every_methods_page_shows_what_the_package_drew():
    for page in (ROOT / "docs/methods").glob("*.md"):
        if page.stem in APPROACHES:
            assert f"](pictures/{page.stem}.svg)" in page.read_text("utf-8"), "python -m benchmarks.pictures"


def test_the_words_beside_hypnettorchs_are_ours():
    section = (ROOT / "docs/parts.md").read_text("utf-8").partition("## hypnettorch's example")[2]
    cells = [line.split("|")[2] for line in section.splitlines() if line.startswith("| `--")]
    said = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]
    words = [word for word in said if "=" in word and not word.endswith("…")]
    assert len(words) > 20
    for word in words:
        resolve("split-mnist", "hnet", [word])
    for name in (word for word in said if "=" not in word and not word.startswith("--")):
        find_benchmark(name)


ROW = re.compile(r"^\|.+\| (.+) \|$", re.MULTILINE)
COMMANDS = {
    command.name or command.callback.__name__.rstrip("_")
    for command in app.registered_commands
    if command.callback
}


def tried(said: str) -> bool:
    """Whether what stands in a right column of coming-from.md is there: a command, names, words, options, or Python."""
    first, *rest = said.split()
    if said.startswith("hypermnesia."):
        return find_spec(said.partition("(")[0].rpartition(".")[0]) is not None
    if first == "hypermnesia":
        if rest[0] == "run":
            resolve(rest[1], rest[2], rest[3:])
        elif rest[0] == "reproduce":
            recipes.recipe(rest[1])
        return rest[0] in COMMANDS
    if python := re.findall(r"\bhm\.(\w+)", said):
        return all(hasattr(hypermnesia, name) for name in python)
    if "hnet" in said and "(" in said:
        return hasattr(hypermnesia.Hypernetwork, re.findall(r"hnet\.?(\w*)\(", said)[0] or "forward")
    if first.startswith("--"):
        return first in {
            name for parameter in get_command(app).commands["run"].params for name in parameter.opts
        }
    if "=" not in first and not rest:
        return first in BENCHMARKS or first in APPROACHES
    benchmark, words = ("split-cifar100", said.split()) if "=" in first else (first, rest)
    fitting = [
        name
        for name in ("derpp", "hnet")
        if takes(benchmark.replace("PATH", str(ROOT)), name, words) == words
    ]
    return bool(fitting)


def test_what_people_type_here_is_there():
    cells = ROW.findall((ROOT / "docs/coming-from.md").read_text("utf-8"))
    said = [word for cell in cells for word in re.findall(r"`([^`]+)`", cell)]
    assert len(said) > 75
    wrong = {}
    for word in said:
        try:
            wrong |= {} if tried(word) else {word: "is not there"}
        except hypermnesia.HypermnesiaError as error:
            wrong[word] = str(error)
    assert wrong == {}


@pytest.mark.slow
def test_what_people_type_here_runs(command, data_dir: Path, tmp_path: Path):
    """The runs on MNIST, with a few samples and two steps per task."""
    said = re.findall(
        r"`hypermnesia (run split-mnist [^`]+)`", (ROOT / "docs/coming-from.md").read_text("utf-8")
    )
    few = ("stream.samples_per_task=30", "train.iterations=2", "train.threads=1", "evaluate.samples=20")
    assert len(said) > 4
    for number, words in enumerate(said):
        own = [word for word in words.split() if not word.startswith("train.epochs")]
        done = command(*own, *few, "--data-dir", data_dir, "--out", tmp_path / str(number))
        assert done.code == 0, (words, done.err)


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_within_the_repository_lead_to_files(page: str):
    source = ROOT / page
    targets = [link for link in LINK.findall(source.read_text("utf-8")) if ":" not in link]
    assert [link for link in targets if not (source.parent / link).exists()] == []


def test_the_results_in_the_readme_are_those_of_the_ledger():
    ledger = tomllib.loads((ROOT / "docs/results.toml").read_text("utf-8"))
    row = re.compile(
        r"^\| `([\w-]+)` \| (\w+) \| ([\d.]+)(?: \\\*)? \| ([\d.]+)(?: ± ([\d.]+))? \| (\d+) \| (\w+) \|$",
        re.MULTILINE,
    )
    found = row.findall((ROOT / "README.md").read_text("utf-8"))
    assert len(found) == 16
    for recipe, scenario, published, mean, std, seeds, said in found:
        entry = ledger[recipe]["full"]
        figure = entry["figures"][f"scenarios.{scenario}.average_accuracy"]
        assert (len(entry["seeds"]), figure["verdict"]) == (int(seeds), said)
        assert (f"{100 * figure['published']:.2f}", f"{100 * figure['mean']:.2f}") == (published, mean)
        assert std == ("" if figure["std"] == "none" else f"{100 * figure['std']:.2f}")


def test_the_files_that_pages_name_are_there():
    files = [
        f"/{path.relative_to(ROOT)}"
        for top in ("src", "tests", "examples")
        for path in (ROOT / top).rglob("*")
    ]
    named = {
        (page, path)
        for page in ALL_PAGES
        for path in re.findall(r"`([\w./]+/\w+\.py)`", (ROOT / page).read_text("utf-8"))
        if page not in ("docs/new-method.md", "CHANGELOG.md")  # the reader's own; what was
    }
    assert len(named) > 20
    assert [found for found in named if not any(file.endswith(f"/{found[1]}") for file in files)] == []


def test_the_page_of_reproductions_is_that_of_the_recipes_and_the_ledger():
    """Made anew by `hypermnesia reproduce --page docs/reproduction.md`."""
    made = reproduction_page(read_ledger(ROOT / "docs/results.toml"))
    assert (ROOT / "docs/reproduction.md").read_text("utf-8") == made
