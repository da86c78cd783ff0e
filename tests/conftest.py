"""What tests of all packages share."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from running import Said, said

os.environ.setdefault(
    "HF_HUB_OFFLINE", "1"
)  # no test asks the network, nor waits for it; read when the hub is imported
DATA_DIR = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real MNIST and CIFAR as parquet files beside the repository; skips where they are not."""
    if not (DATA_DIR / "mnist").is_dir():
        pytest.skip(f"real data sets are not at {DATA_DIR}")
    return DATA_DIR


@pytest.fixture(autouse=True, scope="session")
def decoded_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Tests keep decoded images in a folder of their own, never in the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYPERMNESIA_CACHE", str(folder))
        yield folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`command("run", "split-digits", …)` runs the command line in this process."""
    return partial(said, capsys)
