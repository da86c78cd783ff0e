"""The account of what a run went on with; what it learned then stands in test_learn.py."""

import json
from pathlib import Path

import pytest

from hypermnesia.core.errors import HypermnesiaError
from hypermnesia.data import StreamOptions
from hypermnesia.data.extend import Further
from hypermnesia.runs.continuation import Continuation


def test_an_account_survives_json(tmp_path: Path) -> None:
    options = StreamOptions(tasks=2, classes_per_task=(2, 1), order=(1, 0), validation=0.1)
    further = Further(data="folder:/x", options=options, apart=True, vocabulary=90, data_dir=tmp_path)
    first = Continuation(further=further, tasks=2, classes=4, stream_sha256="a")
    then = Continuation(
        further=Further(data="digits"), tasks=4, classes=7, stream_sha256="b", retest=True, earlier=first
    )
    assert Continuation.from_json(json.loads(json.dumps(then.as_json()))) == then
    of_version_0_1 = then.as_json() | {
        "further": {"data": "digits", "apart": False, "vocabulary": 16384, "options": {}, "data_dir": None}
    }
    assert Continuation.from_json(of_version_0_1) == then
    with pytest.raises(HypermnesiaError, match="no account of a continued run: further.data: Field required"):
        Continuation.from_json(then.as_json() | {"further": {}})
    with pytest.raises(HypermnesiaError, match=r"no account .*: further.options.tasks: "):
        Continuation.from_json(then.as_json() | {"further": {"data": "digits", "options": {"tasks": 0}}})
