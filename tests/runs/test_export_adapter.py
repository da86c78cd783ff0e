"""A task's adapter in PEFT's format: loaded by peft it answers like the learner, and it is a base to start from."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.experiments.build import build
from hypermnesia.experiments.resolve import resolve
from hypermnesia.nets.backbones import _import_timm
from hypermnesia.runs.execute import execute_seeds, restored
from hypermnesia.runs.export import export_adapter
from hypermnesia.weights.peft import read_additions

WORDS = ["stream.tasks=2", "train.iterations=3", "train.threads=1", "evaluate.samples=4"]
VIT = ["net=vit", "net.patch=4", "net.depth=1", "net.width=16", "net.heads=2"]


@pytest.mark.skipif(find_spec("peft") is None, reason="needs the extra peft")
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of names in transformers that peft still uses
@pytest.mark.parametrize("written", ["generated", "stored", "summed"])
def test_peft_answers_like_the_learner(tmp_path: Path, written: str) -> None:
    _import_timm("peft")  # which declares what a torchvision built for another torch lacks
    from peft import PeftModel
    from transformers import ViTConfig, ViTModel

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(tmp_path / "vit")
    chosen = [f"net=hf:{tmp_path}/vit", "weights=lora", f"written={written}", "scale=0.7"]
    words = [*chosen, "target=[*_proj.weight, *.projection.weight, *.dense.weight]", *WORDS]
    cfg = resolve("split-digits", "finetune", words)
    execute_seeds(cfg, [0], tmp_path / "run")
    seed = tmp_path / "run/seed-0"
    out = export_adapter(seed, 1)
    learner = restored(seed).learner
    learner.model.eval()
    images = torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        expected = learner.model(images, 1)
        base = ViTModel.from_pretrained(tmp_path / "vit")
        shown = learner.model.target.get_submodule("input")(images)
        before = base(pixel_values=shown).pooler_output
        theirs = PeftModel.from_pretrained(base, str(out))(pixel_values=shown).pooler_output
    head = load_file(out / "classifier.safetensors")
    torch.testing.assert_close(theirs @ head["weight"].T + head["bias"], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(theirs, before), "the adapter changes something"
    assert json.loads((out / "task.json").read_text())["outputs"] == ["2", "3"] or written == "summed"

    again = build(resolve("split-digits", "finetune", [chosen[0], f"weights.base={out}", *WORDS]))
    body = again.learner.model.target.eval().get_submodule("body")
    with torch.no_grad():
        torch.testing.assert_close(body(shown), theirs, rtol=1e-4, atol=1e-5)


def exported(tmp_path: Path) -> Path:
    words = ["weights=lora", "written=stored", "target=[*.attn.*.weight]", *VIT, *WORDS]
    execute_seeds(resolve("split-digits", "finetune", words), [0], tmp_path / "run")
    return export_adapter(tmp_path / "run/seed-0", 0, tmp_path / "adapter")


def test_what_is_no_adapter_for_this_network(tmp_path: Path) -> None:
    out = exported(tmp_path)

    def start(*words: str) -> None:
        build(resolve("split-digits", "finetune", [f"weights.base={out}", *WORDS, *words]))

    start(*VIT)
    with pytest.raises(
        HypermnesiaError, match=r"adds to block1.attn.\w.weight, which Sequential does not have"
    ):
        start()
    with pytest.raises(HypermnesiaError, match=r"is \(16, 16\), and the network's \(8, 8\)"):
        start(*(word if word != "net.width=16" else "net.width=8" for word in VIT))
    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(config | {"peft_type": "IA3"}))
    with pytest.raises(HypermnesiaError, match="expected a LoRA adapter in PEFT's format"):
        start(*VIT)
    (out / "adapter_config.json").write_text(json.dumps(config))
    save_file({"a": torch.zeros(1)}, out / "adapter_model.safetensors")
    with pytest.raises(HypermnesiaError, match="holds no lora_A of any layer"):
        start(*VIT)


def test_what_has_no_adapter(tmp_path: Path) -> None:
    execute_seeds(resolve("split-digits", "finetune", WORDS), [0], tmp_path / "run")
    with pytest.raises(HypermnesiaError, match="it is for runs with weights=lora"):
        export_adapter(tmp_path / "run/seed-0", 0)


def test_weights_that_are_kept_turned_over_are_added_to_as_they_lie(tmp_path: Path) -> None:
    up, down = torch.randn(4, 2), torch.randn(2, 3)
    name = "base_model.model.attn"
    save_file(
        {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "lora_alpha": 2, "fan_in_fan_out": True}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    torch.testing.assert_close(read_additions(tmp_path)["attn.weight"], (up @ down).T)
