"""What is told of an error in code of the user's own: where it lies in that code, and nothing of ours around it."""

import sysconfig
import traceback
from pathlib import Path

_OURS = Path(__file__).parents[1]
_INSTALLED = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "scripts")}
_PACKAGES = {"site-packages", "dist-packages"}


def told(error: BaseException) -> str | None:
    """The traceback of `error` through the user's own files, and what it says; None if it came by none of them."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    if not frames:
        return None
    return "".join([*traceback.format_list(frames), *traceback.format_exception_only(error)]).rstrip()


def _is_theirs(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or not path.is_file():
        return False  # generated code, such as a dataclass's own methods
    path = path.resolve()
    installed = any(path.is_relative_to(place) for place in (_OURS, *_INSTALLED))
    return not installed and _PACKAGES.isdisjoint(path.parts)
