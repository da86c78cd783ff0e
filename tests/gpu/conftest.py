"""Slices of the GPU tests: `SLICE=2/6 make gpu` runs the second of six."""

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    number, _, of = os.environ.get("SLICE", "1/1").partition("/")
    ours = [item for item in items if item.get_closest_marker("cuda")]
    dropped = {id(item) for i, item in enumerate(ours) if i % int(of) != int(number) - 1}
    items[:] = [item for item in items if id(item) not in dropped]
