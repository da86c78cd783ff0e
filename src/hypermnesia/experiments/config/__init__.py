"""Configuration: words and TOML files, read strictly into trees of frozen dataclasses.

A configuration is a mapping from section names to frozen dataclasses that the parts of the package own. Its
options have dotted keys (`drift.beta`: the field `beta` of the section `drift`). Three steps lead from
outside to inside:

1. `parse_words` reads `key=value` words, `from_toml` a file: both give plain values under plain names.
2. `resolve_keys` completes shortened keys (`beta` to `drift.beta`).
3. `fill` puts the values into the sections, checking every name and every type.

`tree` turns the sections back into plain values, `to_toml` writes these, `sha256` identifies them.
"""

from hypermnesia.experiments.config.schema import (
    FieldInfo,
    build,
    fill,
    keys,
    meant,
    resolve_key,
    resolve_keys,
    tree,
)
from hypermnesia.experiments.config.toml import from_toml, sha256, to_toml
from hypermnesia.experiments.config.words import parse_words, split_variants, variants

__all__ = [
    "FieldInfo",
    "build",
    "fill",
    "from_toml",
    "keys",
    "meant",
    "parse_words",
    "resolve_key",
    "resolve_keys",
    "sha256",
    "split_variants",
    "to_toml",
    "tree",
    "variants",
]
