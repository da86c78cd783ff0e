"""`make release`: what a release has to be, checked, and then its wheel and sdist built in dist/.

The version stands in the package, in the changelog with a date, and in the citation; the tree is clean, and the tag is
new or is this very commit.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def faults(root: Path) -> list[str]:
    """What speaks against a release of the checkout in `root`."""
    version = re.search(r'^__version__ = "(.*)"$', (root / "src/hypermnesia/__init__.py").read_text(), re.M)
    if version is None or not re.fullmatch(r"\d+\.\d+\.\d+", version[1]):
        return ["src/hypermnesia/__init__.py: __version__ is no version X.Y.Z"]
    found, number = [], version[1]
    changes = (root / "CHANGELOG.md").read_text()
    if not re.search(rf"^## \[{re.escape(number)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changes, re.M):
        found.append(
            f"CHANGELOG.md has no heading '## [{number}] - YYYY-MM-DD': move what is unreleased below it"
        )
    if not re.search(rf"^version: {re.escape(number)}$", (root / "CITATION.cff").read_text(), re.M):
        found.append(f"CITATION.cff: version is not {number}")
    if _git(root, "status", "--porcelain"):
        found.append("the working tree is not clean: commit or remove what `git status` shows")
    tagged = _git(root, "tag", "--list", f"v{number}") and _git(root, "rev-list", "-n1", f"v{number}")
    if tagged and tagged != _git(root, "rev-parse", "HEAD"):
        found.append(f"the tag v{number} is another commit: raise the version")
    return found


def _git(root: Path, *words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=root, check=True, capture_output=True, text=True
    ).stdout.strip()


if __name__ == "__main__":
    if wrong := faults(ROOT):
        sys.exit("\n".join(f"release: {fault}" for fault in wrong))
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    subprocess.run([sys.executable, "-m", "hatchling", "build"], cwd=ROOT, check=True)
    print("release: dist/ is ready; publish it with: git tag vX.Y.Z && git push --tags")
