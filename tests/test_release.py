"""What `make release` checks, on a small checkout of its own."""

import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def git(root: Path, *words: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *words],
        cwd=root,
        check=True,
        capture_output=True,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of version 1.2.3, ready to be released."""
    (tmp_path / "src" / "hypermnesia").mkdir(parents=True)
    (tmp_path / "src/hypermnesia/__init__.py").write_text('__version__ = "1.2.3"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## [1.2.3] - 2026-01-02\n")
    (tmp_path / "CITATION.cff").write_text("version: 1.2.3\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "All")
    return tmp_path


def faults(root: Path) -> list[str]:
    return runpy.run_path(str(ROOT / ".github/release.py"))["faults"](root)


def test_a_checkout_that_is_ready_before_and_after_its_tag(checkout):
    assert faults(checkout) == []
    git(checkout, "tag", "v1.2.3")
    assert faults(checkout) == []


def test_what_speaks_against_a_release(checkout):
    (checkout / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    (checkout / "CITATION.cff").write_text("version: 1.2.2\n")
    assert faults(checkout) == [
        "CHANGELOG.md has no heading '## [1.2.3] - YYYY-MM-DD': move what is unreleased below it",
        "CITATION.cff: version is not 1.2.3",
        "the working tree is not clean: commit or remove what `git status` shows",
    ]


def test_a_tag_that_is_another_commit(checkout):
    git(checkout, "tag", "v1.2.3")
    git(checkout, "commit", "--allow-empty", "-qm", "More")
    assert faults(checkout) == ["the tag v1.2.3 is another commit: raise the version"]


def test_the_citation_is_of_this_version():
    version = runpy.run_path(str(ROOT / "src/hypermnesia/__init__.py"))["__version__"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
