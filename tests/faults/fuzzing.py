"""Fuzz targets: functions of bytes that raise nothing but what is a defect.

    python tests/faults/fuzzing.py config --runs 100000 [--seed 0]

The driver here changes sound input at random. A fuzzer that follows coverage takes the same functions, as in
`atheris.Setup(sys.argv, TARGETS["config"](directory)[0])`.
"""

import argparse
import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

import torch  # noqa: E402

from hypermnesia.core.errors import HypermnesiaError  # noqa: E402
from hypermnesia.experiments import config  # noqa: E402
from hypermnesia.experiments.config.words import write_value  # noqa: E402
from hypermnesia.experiments.resolve import from_toml, resolve  # noqa: E402
from hypermnesia.training import checkpoint  # noqa: E402
from hypermnesia.training.serialise import unpack  # noqa: E402

Target = Callable[[bytes], None]


def config_target(directory: Path) -> tuple[Target, list[bytes]]:
    """The parsers of words, one a line, and of saved configurations; with sound input to begin with."""
    cfg = resolve("split-digits", "hnet")
    words = "\n".join(f"{key}={write_value(value)}" for key, value in _flat(cfg.tree()).items())

    def target(data: bytes) -> None:
        text = data.decode("utf-8", "surrogateescape")
        for parse in (lambda: config.parse_words(text.splitlines()), lambda: from_toml(text)):
            try:
                parse()
            except HypermnesiaError:
                continue

    return target, [words.encode(), cfg.to_toml().encode()]


def checkpoint_target(directory: Path) -> tuple[Target, list[bytes]]:
    """The reader of checkpoints: the files as they are, and with checksums made to fit what they hold.

    Input is a length of four bytes, so many of JSON, and the rest of safetensors.
    """
    state = {"list": [{"tensor": "a"}, {"generator": "rng"}, {"float": "nan"}, None, "text", 1.5]}
    rng = torch.Generator().get_state()
    path = checkpoint.write(directory, 1, 0, {"a": torch.ones(3, 2), "rng": rng}, state, {"events": 3})
    tensors = path.with_suffix(".safetensors")
    body = json.loads(path.read_bytes())["body"].encode()
    sound = len(body).to_bytes(4, "little") + body + tensors.read_bytes()

    def target(data: bytes) -> None:
        length = int.from_bytes(data[:4], "little")
        text, blob = data[4 : 4 + length].decode("utf-8", "replace"), data[4 + length :]
        fitting = text.replace(
            hashlib.sha256(sound[4 + len(body) :]).hexdigest(), hashlib.sha256(blob).hexdigest()
        )
        envelope = {"sha256": hashlib.sha256(fitting.encode()).hexdigest(), "body": fitting}
        tensors.write_bytes(blob)
        for content in (data[4 : 4 + length], json.dumps(envelope).encode()):
            path.write_bytes(content)
            try:
                found, form, _ = checkpoint.read(path)
                unpack(form, found, frozenset(), torch.device("cpu"))
            except HypermnesiaError:
                continue

    return target, [sound]


TARGETS: dict[str, Callable[[Path], tuple[Target, list[bytes]]]] = {
    "config": config_target,
    "checkpoint": checkpoint_target,
}


def _flat(tree: dict, path: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{path}{key}.") if isinstance(value, dict) else {path + key: value}
    return flat


def changed(data: bytes, rng: random.Random) -> bytes:
    """`data` with up to four changes."""
    for _ in range(rng.randint(1, 4)):
        at, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        end = min(end, at + 60)
        put = rng.choice([b"", rng.randbytes(rng.randint(1, 8)), data[at:end] * 2, rng.choice(PIECES)])
        data = data[:at] + put + data[end:]
    return data


PIECES = (
    b"[" * 1000,
    b"{",
    b'"',
    b"=",
    b"\n",
    b",",
    b"null",
    b"-1",
    b"1e999",
    b"9" * 40,
    b"\xff\xfe",
    b"\\u0000",
    b"[[a]]",
)


def fuzz(name: str, runs: int, seed: int, directory: Path) -> int:
    """Call a target with so much changed input; returns how often, and raises what is a defect."""
    rng = random.Random(f"{seed} {name}")
    target, corpus = TARGETS[name](directory)
    for done in range(runs):
        data = changed(rng.choice(corpus), rng)
        try:
            target(data)
        except Exception as error:
            raise RuntimeError(f"{name}: input {done} of seed {seed}, {data!r}") from error
    return runs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(f"{fuzz(chosen.target, chosen.runs, chosen.seed, Path(directory))} inputs: 0 defects")


if __name__ == "__main__":
    main()
