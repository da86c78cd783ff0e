"""Bad input of every kind, as hypothesis makes it up: words, TOML, tables, folders of images, damaged run directories.

Each strategy gives a `Case`: files to write into an empty directory, and the words of the command that reads them.
Some cases turn out to be good input; whoever counts bad ones leaves these out.
"""

import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from contract import BY_NAME, TINY, words_of
from hypothesis import strategies as st
from PIL import Image

from hypermnesia.experiments import config
from hypermnesia.experiments.resolve import resolve

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Case:
    """What lies in the directory, and what is run there."""

    words: tuple[str, ...]
    files: Mapping[str, bytes]


# ---------------------------------------------------------------------------------------------------------- settings

ODD = (
    *(
        "",
        "-1",
        "0",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-320",
        "true",
        "none",
        "[]",
        "[0]",
        "[-1]",
        "[1,[2]]",
        "[[[[",
    ),
    *(
        '"',
        "'x",
        "1,2",
        "9223372036854775808",
        "1099511627776",
        "4611686018427387904",
        "[4611686018427387904]",
        "0x10",
    ),
    *(
        "2000-01-01",
        "unit",
        "../..",
        "python:os:system",
        "python:nowhere:net",
        "*",
        "[*]",
        "é",
        "\x00",
        "auto",
        "hyper",
    ),
)
JUNK = st.one_of(
    st.sampled_from(ODD), st.text(max_size=6), st.integers(-3, 30).map(str), st.floats(-2, 2).map(str)
)  # fmt: skip


@cache
def keys_of(approach: str) -> list[str]:
    """Every option that the approach has on the digits."""
    return list(config.keys(resolve("split-digits", approach).sections))


@st.composite
def words(draw: Draw) -> Case:
    """A command line with one or more mistakes in it."""
    approach = draw(st.sampled_from(sorted(BY_NAME)))
    key = st.sampled_from(keys_of(approach))
    said = draw(st.lists(st.tuples(key, JUNK).map("=".join), min_size=1, max_size=2))
    kind = draw(st.integers(0, 9))
    if kind == 0:  # a name that is none
        name = draw(key)
        at = draw(st.integers(0, len(name)))
        said.append(f"{name[:at]}{name[at + 1 :]}=1")
    elif kind == 1:
        said.append(draw(st.text(max_size=12)))
    elif kind == 2:  # given twice
        return Case(("run", "split-digits", approach, *TINY, *said), {})
    benchmark = draw(
        st.sampled_from(["split-digits"] * 8 + ["permuted-digits", "split-mnist", "folder:x", "no", ""])
    )
    return Case(("run", "--", benchmark, approach, *words_of(BY_NAME[approach], *said)), {})


@st.composite
def toml(draw: Draw) -> Case:
    """A file of settings that is damaged, of other types, or not TOML at all."""
    approach = draw(st.sampled_from(sorted(BY_NAME)))
    return Case(("run", "--config", "settings.toml"), {"settings.toml": draw(mutated(saved_toml(approach)))})


@cache
def saved_toml(approach: str) -> bytes:
    return resolve("split-digits", approach, words_of(BY_NAME[approach])).to_toml().encode()


@st.composite
def mutated(draw: Draw, content: bytes) -> bytes:
    """`content` with bytes changed, cut out, repeated or put in; a number, text or line of it exchanged; or cut short."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        end = min(len(content), at + draw(st.integers(0, 40)))
        kind = draw(st.sampled_from(["flip", "cut", "out", "twice", "put", "line", "line", "line", "line"]))
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ draw(st.integers(1, 255))]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "out":
            content = content[:at] + content[end:]
        elif kind == "twice":
            content = content[:end] + content[at:end] + content[end:]
        elif kind == "put":
            content = content[:at] + draw(st.binary(max_size=8)) + content[at:]
        elif kind == "line":
            lines = content.split(b"\n")
            row = draw(st.integers(0, len(lines) - 1))
            name = lines[row].partition(b"=")[0]
            lines[row] = name + b"= " + draw(JUNK).encode("utf-8", "surrogatepass")
            content = b"\n".join(lines)
    return content


# -------------------------------------------------------------------------------------------------------------- data


def encoded(side: tuple[int, int] = (6, 6), mode: str = "L", form: str = "PNG") -> bytes:
    """An image as a file has it."""
    out = BytesIO()
    Image.fromarray(np.arange(side[0] * side[1], dtype=np.uint8).reshape(side)).convert(mode).save(out, form)
    return out.getvalue()


def huge(width: int, height: int) -> bytes:
    """A PNG whose header claims so many pixels, and which holds none of them."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + bytes(40)
    )


GOOD = tuple(
    encoded(mode=mode, form=form)
    for mode, form in [
        ("L", "PNG"), ("P", "PNG"), ("RGB", "JPEG"), ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("1", "PNG"),
        ("RGBA", "PNG"), ("P", "GIF"), ("F", "TIFF"), ("I;16", "PNG"), ("YCbCr", "TIFF"), ("RGB", "WEBP"),
    ]
)  # fmt: skip
PICTURES = st.one_of(
    st.sampled_from(GOOD),
    st.sampled_from(GOOD).flatmap(mutated),
    st.builds(huge, st.integers(0, 2**31), st.integers(0, 2**31)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)).map(encoded),
    st.binary(max_size=30),
)
"""Encoded images: of every mode, damaged, of odd sizes, huge by their headers, or none at all."""
COMMON = ("finetune", "net=mlp", *TINY[3:])


@st.composite
def tables(draw: Draw) -> Case:
    """Parquet files, one of them with a fault: other columns, types or labels, damaged images, nothing in it, cut short."""
    names = draw(st.sampled_from([("train",), ("train", "test"), ("test",), ("a", "b"), ("train", "val")]))
    faulty = draw(st.sampled_from(names))
    files = {f"data/{name}.parquet": draw(_table(name == faulty)) for name in names}
    return Case(("run", "parquet:data", *COMMON), files)


@st.composite
def _table(draw: Draw, faulty: bool) -> bytes:
    images: Any = [GOOD[0]] * 8
    labels: Any = pa.array([0, 1] * 4)
    column, names, fault = _struct, ["image", "label"], draw(st.integers(0, 9)) if faulty else -1
    if fault in (0, 1, 2):
        images[draw(st.integers(0, 7))] = draw(PICTURES)
    elif fault in (3, 4):
        odd = st.one_of(st.integers(-3, 9), st.integers(-(2**63), 2**63 - 1), st.none())
        labels = pa.array([draw(odd), *draw(st.sampled_from([[0, 1] * 3 + [1], [0] * 7, [5, 9] * 3 + [9]]))])
    elif fault == 5:
        kinds = [
            pa.int8(),
            pa.uint64(),
            pa.float32(),
            pa.string(),
            pa.bool_(),
            pa.list_(pa.int64()),
            pa.null(),
        ]
        kind = draw(st.sampled_from(kinds))
        labels = (
            pa.array([[1]] * 8)
            if pa.types.is_list(kind)
            else labels.cast(kind)
            if kind != pa.null()
            else pa.nulls(8)
        )
    elif fault == 6:
        column = draw(st.sampled_from([_binary, _text, _integers, _lacking]))
    elif fault == 7:
        names[draw(st.integers(0, 1))] = draw(
            st.sampled_from(["img", "text", "label", "target", "x", "", "image"])
        )
    elif fault == 8:
        rows = draw(st.integers(0, 2))
        images, labels = images[:rows], labels[:rows]
    out = BytesIO()
    pq.write_table(pa.table([column(images), labels], names=names), out)
    return draw(mutated(out.getvalue())) if fault == 9 else out.getvalue()


_BYTES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _struct(samples: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": sample, "path": "../../x"} for sample in samples], _BYTES)


def _lacking(samples: list[bytes]) -> pa.Array:
    return pa.array([{"bytes": None, "path": "/etc/hostname"} for _ in samples], _BYTES)


def _binary(samples: list[bytes]) -> pa.Array:
    return pa.array(samples, pa.large_binary())


def _text(samples: list[bytes]) -> pa.Array:
    return pa.array([sample.decode("latin-1") for sample in samples], pa.string())


def _integers(samples: list[bytes]) -> pa.Array:
    return pa.array([len(sample) for sample in samples], pa.int32())


@st.composite
def folders(draw: Draw) -> Case:
    """Folders of images: too few classes or images, images of every kind, files that are none."""
    classes = draw(
        st.sampled_from(
            [("a", "b"), ("a", "b", "c"), ("a", "<script>"), ("a",), (), ("train", "test"), ("a", "é")]
        )
    )
    files = {
        f"data/{name}/{i}.png": GOOD[0]
        for name in classes
        for i in range(draw(st.sampled_from([3, 3, 3, 1])))
    }
    kind = draw(st.integers(0, 9))
    if kind < 6 and files:
        files[draw(st.sampled_from(sorted(files)))] = draw(PICTURES)
    elif kind == 6 and files:
        name = draw(st.sampled_from(sorted(files)))
        files[name.removesuffix("png") + draw(st.sampled_from(["txt", "dat", "jpg", ""]))] = files.pop(name)
    elif kind == 7:
        files["data/train/a/0.png"] = GOOD[0]
    elif kind == 8:
        files = {name: content for name, content in files.items() if not name.startswith("data/a/")}
    return Case(("run", "folder:data", *COMMON), {"data/readme": b"x"} | files)


# -------------------------------------------------------------------------------------------------------------- runs


def run_directories(sound: Mapping[str, bytes]) -> st.SearchStrategy[Case]:
    """A run's directory, of which `sound` are all the files, with one of its small ones damaged."""
    small = sorted(name for name in sound if name.endswith((".toml", ".json")) and "checkpoint" not in name)
    small = [name for name in small if name.startswith("seed-")]

    @st.composite
    def cases(draw: Draw) -> Case:
        name = draw(st.sampled_from(small))
        damaged = draw(
            st.one_of(mutated(sound[name]), st.sampled_from([b"", b"{}", b"[]", b"null", b"[" * 10**5]))
        )
        if draw(st.integers(0, 2)) == 0 and name.endswith(".json"):
            damaged = json.dumps(draw(_replaced(json.loads(sound[name])))).encode()
        words = draw(
            st.sampled_from(
                [("resume", "o"), ("show", "o"), ("predict", "o", "a.png"), ("export", "o", "--task", "1")]
            )
        )
        files = {f"o/{path}": content for path, content in sound.items()} | {f"o/{name}": damaged}
        return Case(words, files | {"a.png": encoded((8, 8))})

    return cases()


@st.composite
def _replaced(draw: Draw, value: Any) -> Any:
    """A JSON value with something in it exchanged for something else."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        return value | {key: draw(_replaced(value[key]))}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(_replaced(value[at])), *value[at + 1 :]]
    odd = [None, -1, 2**70, 1e308, True, "", "../../x", [], {}, [[]], {"a": 1}, "\ud800"]
    return draw(st.sampled_from(odd))
