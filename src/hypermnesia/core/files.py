"""Files that are seen whole or not at all."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file so that it is seen whole or not at all, even across a power cut."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path
