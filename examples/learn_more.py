"""A finished run learns two new classes from a folder of pictures, without the data that it was trained on.

Run it: python examples/learn_more.py (no data needed; about twenty seconds). On the command line the same is

    hypermnesia run split-digits hnet infer=fecam --out runs/digits
    hypermnesia learn runs/digits PICTURES
    hypermnesia predict runs/digits+PICTURES PICTURES/owl/0.png
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import hypermnesia as hm
from hypermnesia.runs.directory import read_result
from hypermnesia.runs.execute import execute_seeds
from hypermnesia.runs.learn import learn
from hypermnesia.runs.predict import predict


def draw(folder: Path) -> None:
    """Stand-ins for new classes: twos upside down and transposed sevens, as colour pictures of 24 × 24 pixels."""
    digits = load_digits()
    for name, digit, change in (("owl", 2, np.flipud), ("cat", 7, np.transpose)):
        (folder / name).mkdir(parents=True)
        for i, pixels in enumerate(digits.images[digits.target == digit]):
            image = Image.fromarray((change(pixels) * 15.9).astype(np.uint8)).resize((24, 24))
            image.convert("RGB").save(folder / name / f"{i}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        pictures, run = Path(place) / "pictures", Path(place) / "digits"
        draw(pictures)
        cfg = hm.resolve("split-digits", "hnet", ["infer=fecam", "train.iterations=150"])
        execute_seeds(cfg, [0], run)

        found = learn(run, str(pictures))
        print(f"new classes: {', '.join(found.classes)}, in {found.directory.name}")
        result = read_result(found.directory / "seed-0")
        *_, before, after = result["scenarios"]["task"]["matrix"]
        for name, row in (("before", before[:5]), ("after", after)):
            print(f"{name:6} accuracy on each task: " + " ".join(f"{100 * a:5.1f}" for a in row))

        asked = [pictures / "owl" / "0.png", pictures / "cat" / "0.png"]
        for answer in predict(found.directory / "seed-0", asked):
            print(f"{answer.image.parent.name} is taken for {answer.answer}")


if __name__ == "__main__":
    main()
