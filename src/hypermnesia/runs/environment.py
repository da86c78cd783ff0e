"""What a run depends on beside its configuration: versions, machine, commit."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch


def environment(device: str) -> dict[str, Any]:
    """The content of environment.json, but for what the run adds of its own."""
    own, *others = versions().items()
    return {
        own[0]: own[1],
        "commit": commit(),
        "python": platform.python_version(),
        "versions": dict(others),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "device": device,
    }


def versions() -> dict[str, str]:
    """This package's version, and of those whose version may change how a run rounds or is read."""
    found = {}
    for package in ("hypermnesia", "torch", "numpy", "safetensors"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found


def commit() -> str | None:
    """The commit of this package's own checkout, with a `+` where files differ from it; None if it is installed."""
    here = Path(__file__).parents[1]
    if not (here.parents[1] / ".git").exists():
        return None
    try:
        head = _git(here, "rev-parse", "HEAD")
        return head + ("+" if _git(here, "status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None  # no git here, or not our checkout


def _git(directory: Path, *words: str) -> str:
    command = ["git", "-C", str(directory), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def processor() -> str:
    """The model of the CPU."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
