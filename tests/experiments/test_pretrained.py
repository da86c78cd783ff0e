"""Pre-trained values: read from files and runs, put into a network, and told apart by their checksum."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import hypermnesia as hm
from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.core.tensors import copy
from hypermnesia.experiments.pretrained import put_into, read_base, start_from
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute, restored

WEIGHT = "layer1.linear.weight"
SMALL = ["net.hidden=[6]", "train.iterations=3", "train.threads=1", "evaluate.samples=5", "stream.tasks=2"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on plain weights: DIR, with one seed."""
    directory = tmp_path_factory.mktemp("base") / "run"
    execute(hm.resolve("split-digits", "finetune", SMALL), 0, Place(directory / "seed-0"))
    return directory


@pytest.fixture
def file(finished: Path, tmp_path: Path) -> Path:
    """The same network as a plain file."""
    path = tmp_path / "base.safetensors"
    save_file(restored(finished / "seed-0").learner.model.task_state(0), path)
    return path


def network(outputs: int = 4, hidden: int = 6) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return (
            hm.resolve("split-digits", "finetune", [f"net.hidden=[{hidden}]"])
            .sections["net"]
            .build((1, 8, 8), outputs)
        )


def test_a_run_and_what_was_exported_from_it_are_the_same(finished: Path, file: Path):
    of_run, of_file = read_base(finished), read_base(str(file))
    assert of_run.sha256 == of_file.sha256 == read_base(finished / "seed-0").sha256
    net = network()
    start_from(net, finished, of_run.sha256)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, of_file.tensors[name], rtol=0, atol=0)


def test_the_checksum_is_of_names_shapes_and_values(file: Path, tmp_path: Path):
    tensors = read_base(file).tensors
    others = (
        {name + "x" if name == WEIGHT else name: value for name, value in tensors.items()},
        {name: value.mT.contiguous() if name == WEIGHT else value for name, value in tensors.items()},
        {name: value + 1 if name == WEIGHT else value for name, value in tensors.items()},
    )
    found = {read_base(file).sha256}
    for i, other in enumerate(others):
        save_file(other, tmp_path / f"{i}.safetensors")
        found.add(read_base(tmp_path / f"{i}.safetensors").sha256)
    assert len(found) == 4


def test_a_classifier_of_another_width_stays_as_it_is(file: Path):
    net, base = network(outputs=3), read_base(file)
    before = copy(dict(net.named_parameters()))
    put_into(net, base)
    for name, value in net.state_dict().items():
        expected = before[name] if name.startswith("head") else base.tensors[name]
        torch.testing.assert_close(value, expected, rtol=0, atol=0)


def test_bases_that_do_not_fit(file: Path, finished: Path, tmp_path: Path):
    tensors = read_base(file).tensors
    save_file(
        {name: value for name, value in tensors.items() if name != WEIGHT}, tmp_path / "less.safetensors"
    )
    save_file({**tensors, "neck.weight": torch.zeros(2)}, tmp_path / "more.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:50])
    (tmp_path / "empty").mkdir()
    for path, text in (
        (
            "less.safetensors",
            f"less.safetensors lacks {WEIGHT}; it must be a state_dict of the same network$",
        ),
        ("more.safetensors", r"has what the network lacks: neck\.weight; it must be a state_dict"),
        ("cut.safetensors", "cut.safetensors: cannot be read: "),
        ("no.safetensors", "no.safetensors: cannot be read: "),
        (
            "base.pt",
            r"base\.pt: expected a run directory or a \.safetensors file, which holds tensors and runs no code",
        ),
        ("empty", "empty holds no run$"),
    ):
        with pytest.raises(HypermnesiaError, match=text):
            start_from(network(), tmp_path / path)
    with pytest.raises(
        HypermnesiaError, match=r"is \(6,\) there and \(7,\) in the network; build the network"
    ):
        start_from(network(hidden=7), file)


def test_a_run_whose_weights_depend_on_the_task_has_no_network_for_all(tmp_path: Path):
    execute(hm.resolve("split-digits", "hnet", SMALL), 0, Place(tmp_path / "hnet" / "seed-0"))
    with pytest.raises(
        HypermnesiaError, match=r"lacks .*; a run gives its network if that is one for all tasks .* expo"
    ):
        start_from(network(), tmp_path / "hnet")


def test_several_seeds_have_to_be_chosen_from(finished: Path, tmp_path: Path):
    for seed in (0, 1):
        (tmp_path / f"seed-{seed}").mkdir()
    with pytest.raises(HypermnesiaError, match="holds the seeds seed-0, seed-1: name one"):
        read_base(tmp_path)


def test_a_damaged_checkpoint_is_passed_over(finished: Path, tmp_path: Path):
    saves = tmp_path / "run" / "checkpoint"
    saves.mkdir(parents=True)
    (tmp_path / "run" / "config.toml").touch()
    for path in (finished / "seed-0" / "checkpoint").iterdir():
        (saves / path.name).write_bytes(path.read_bytes())
    expected = read_base(finished).sha256
    (saves / "9999999999-00009.json").write_text("{}")
    assert read_base(tmp_path / "run").sha256 == expected
    for path in saves.glob("*.json"):
        path.write_text("{}")
    with pytest.raises(HypermnesiaError, match="has no sound checkpoint; run it first"):
        read_base(tmp_path / "run")


def test_the_checksum_belongs_to_the_configuration_and_the_path_does_not(finished: Path, file: Path):
    configured = [
        hm.resolve("split-digits", "hnet", ["weights=lora", f"base={path}"]) for path in (finished, file)
    ]
    first, second = (cfg.sections["weights"] for cfg in configured)
    assert first.base != second.base
    assert first.base_sha256 == second.base_sha256 == read_base(file).sha256
    assert configured[0].sha256 == configured[1].sha256
    without = hm.resolve("split-digits", "hnet", ["weights=lora"])
    assert without.sha256 != configured[0].sha256


def test_a_run_from_a_base(finished: Path, file: Path, tmp_path: Path):
    """It starts there, says so, refuses another base in its place, and is read back without it."""
    cfg = hm.resolve("split-digits", "hnet", ["weights=lora", f"base={file}", "rank=1", *SMALL])
    run = hm.build(cfg)
    weight = read_base(file).tensors[WEIGHT]
    torch.testing.assert_close(run.learner.model.target.get_parameter(WEIGHT).data, weight)
    execute(cfg, 0, Place(tmp_path / "seed-0"))
    assert (
        f'base_sha256 = "{cfg.sections["weights"].base_sha256}"'
        in (tmp_path / "seed-0" / "config.toml").read_text()
    )
    tensors = read_base(file).tensors
    save_file({name: value + 1 for name, value in tensors.items()}, file)
    with pytest.raises(
        HypermnesiaError, match="has changed: its checksum is .* bring the former values back, or start"
    ):
        hm.build(cfg)
    file.unlink()
    kept = restored(tmp_path / "seed-0").learner.model
    torch.testing.assert_close(kept.target.get_parameter(WEIGHT).data, weight)
    assert json.loads((tmp_path / "seed-0" / "result.json").read_text())["config_sha256"] == cfg.sha256


def test_generated_weights_have_no_use_for_a_base(file: Path):
    with pytest.raises(
        HypermnesiaError, match="weights.base fills a network whose every value weights=hyper generates"
    ):
        hm.resolve("split-digits", "hnet", [f"base={file}"])
