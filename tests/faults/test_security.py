"""What SECURITY.md promises and no other test looks at."""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract import TINY
from faults import hostile
from PIL import Image
from running import Said, files_below

import hypermnesia
from hypermnesia.experiments.resolve import resolve
from hypermnesia.runs.directory import default_directory
from hypermnesia.runs.execute import execute_seeds

SOURCE = Path(hypermnesia.__file__).parent
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUNNING = {"eval", "exec", "torch.load", "np.load", "numpy.load", "os.system", "yaml.load"}
OWN_PROCESSES = {"sweep/engines/local.py": {"joblib"}}
"""What passes pickles between our own processes and reads none from a file."""
SECRETS = {
    "WANDB_API_KEY": "k" * 39 + "1",
    "MLFLOW_TRACKING_PASSWORD": "hush-4711",
    "HF_TOKEN": "hf_secret4711",
}


def used(tree: ast.AST) -> Iterator[str]:
    """The modules that code imports and the dotted names that it calls."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and not _reads_data_only(node):
            yield ast.unparse(node.func)


def _reads_data_only(call: ast.Call) -> bool:
    """Whether it is `torch.load` or `np.load` by the reader that executes nothing."""
    said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    asked = {"torch.load": ("weights_only", "True"), "np.load": ("allow_pickle", "False")}
    key, value = asked.get(ast.unparse(call.func), (None, None))
    return key is not None and said.get(key) == value


def test_no_code_unpickles_or_evaluates() -> None:
    files = list(SOURCE.rglob("*.py"))
    assert len(files) > 100
    for path in files:
        found = set(used(ast.parse(path.read_text(encoding="utf-8")))) & (UNPICKLING | RUNNING)
        found -= OWN_PROCESSES.get(path.relative_to(SOURCE).as_posix(), set())
        assert not found, f"{path} uses {found}"


def test_the_check_above_sees_what_it_looks_for() -> None:
    assert {"pickle", "torch.load"} <= set(used(ast.parse("import pickle\ntorch.load(f)")))
    assert "torch.load" not in set(used(ast.parse("torch.load(f, weights_only=True)")))
    assert "torch.load" in set(used(ast.parse("torch.load(f, weights_only=False)")))


def test_keys_of_trackers_are_nowhere(
    command: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not on the screen, in no file of the run, not in its report."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    out = tmp_path / "o"
    said = [command("run", "split-digits", "finetune", *TINY, "--track", "csv", "--out", out)]
    said.append(command("report", out, "-o", tmp_path / "report.html"))
    assert [done.code for done in said] == [0, 0]
    everything = "".join(done.out + done.err for done in said).encode() + b"".join(
        files_below(tmp_path).values()
    )
    assert b"config_sha256" in everything
    for value in SECRETS.values():
        assert value.encode() not in everything


def test_names_of_classes_lead_nowhere(command: Callable[..., Said], tmp_path: Path) -> None:
    """A class may be called like a path or a script: it is shown, and names no file."""
    names = ("<script>alert(1)<", "a;..b")
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "data" / name / f"{i}.png").write_bytes(hostile.GOOD[0])
    out, page = tmp_path / "o", tmp_path / "report.html"
    words = ("finetune", "net=mlp", *TINY[3:], "stream.tasks=2", "stream.classes_per_task=1")
    assert command("run", f"folder:{tmp_path / 'data'}", *words, "--out", out).code == 0
    before = set(files_below(tmp_path))
    done = command("export", out, "--task", "1")
    assert done.code == 0, done
    assert command("report", out, "-o", page).code == 0
    new = set(files_below(tmp_path)) - before
    assert new and all(name == "report.html" or name.startswith("o/seed-0/export/") for name in new)
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text and names[0] not in text


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DIR/seed-0 of a finished run."""
    directory = tmp_path_factory.mktemp("received") / "run"
    execute_seeds(resolve("split-digits", "hnet", TINY), [0], directory)
    return directory / "seed-0"


@pytest.mark.parametrize(
    ("command_line", "key"),
    [
        (f"{name} DIR{more}", key)
        for key in ("approach", "net.name")
        for name, more in {
            "predict": " x.png",
            "export": " --task 1",
            "resume": "",
            "learn": " data",
            "unlearn": " 0",
        }.items()
    ],
)
def test_a_received_run_directory_runs_no_code_of_its_own(
    command: Callable[..., Said],
    received: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command_line: str,
    key: str,
) -> None:
    """Its configuration names a module that lies where the command is given; only --trust-code imports that."""
    module = "evil_" + re.sub(r"\W", "_", f"{command_line}_{key}")
    shutil.copytree(received, tmp_path / "DIR")
    (tmp_path / f"{module}.py").write_text("open('it-ran', 'w').close()\ndef build(shape, outputs): ...\n")
    _name_code(tmp_path / "DIR", key, f"python:{module}:build")
    (tmp_path / "data").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    if command_line.startswith("resume"):
        (tmp_path / "DIR" / "result.json").unlink()
    monkeypatch.chdir(tmp_path)
    said = command(*command_line.split())
    assert said.code == 2 and not (tmp_path / "it-ran").exists()
    assert (
        "DIR names code of its own, which this command would run; where you trust it, add --trust-code"
        in said.err
    )
    command(*command_line.split(), "--trust-code")
    assert (tmp_path / "it-ran").exists()


@pytest.mark.parametrize(
    ("name", "key", "why"),
    [
        ("run", "approach", "holds a run of code that was not asked for; give another --out"),
        ("compare", "approach", "holds a run of code that was not asked for; give another --out"),
        ("run", "net.name", "holds a run with another configuration"),
    ],
)
def test_what_lies_in_the_place_of_a_run_runs_no_code(
    command: Callable[..., Said],
    received: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    key: str,
    why: str,
) -> None:
    """`--out DIR` names a place, and not whose code it holds."""
    monkeypatch.chdir(tmp_path)
    module, words = f"evil_{name}_{key[:3]}", ["split-digits", "hnet", *TINY]
    out = Path("DIR") if name == "run" else default_directory(resolve(words[0], words[1], TINY), Path("DIR"))
    shutil.copytree(received.parent, out)
    (tmp_path / f"{module}.py").write_text("open('it-ran', 'w').close()\ndef build(shape, outputs): ...\n")
    _name_code(out / "seed-0", key, f"python:{module}:build")
    said = command(name, *words, "--out", "DIR", *(["--no-bounds"] if name == "compare" else []))
    assert said.code == 2 and f"{out}/seed-0 {why}" in said.err
    assert not (tmp_path / "it-ran").exists()


def test_a_run_of_ones_own_code_is_recognised(
    command: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_own_net.py").write_text(
        "from torch import nn\n"
        "def build(shape, outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))\n"
    )
    words = ("run", "split-digits", "finetune", *(word for word in TINY if "net" not in word))
    for expected in ("done after", "already finished"):
        said = command(*words, "net=python:my_own_net:build", "--out", "o")
        assert said.code == 0 and expected in said.out


def test_showing_and_reporting_run_no_code_at_all(
    command: Callable[..., Said], received: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(received, tmp_path / "DIR")
    (tmp_path / "evil_shown.py").write_text("open('it-ran', 'w').close()\n")
    _name_code(tmp_path / "DIR", "approach", "python:evil_shown:build")
    monkeypatch.chdir(tmp_path)
    assert command("show", "DIR").code == command("report", "DIR").code == 0
    assert not (tmp_path / "it-ran").exists()


def _name_code(directory: Path, key: str, reference: str) -> None:
    """Name code as the approach or the network of a saved configuration."""
    path = directory / "config.toml"
    text = path.read_text(encoding="utf-8")
    if key == "approach":
        text, found = re.subn(r"(?m)^approach = .*$", f'approach = "{reference}"', text)
    else:
        text, found = re.subn(r"(?m)^\[net\]\n(?:[^\[].*\n|\n)*", f'[net]\nname = "{reference}"\n\n', text)
    assert found == 1
    path.write_text(text, encoding="utf-8")
