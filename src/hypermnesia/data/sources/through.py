"""What a source can be seen through: a frozen network, whose features take the images' place."""

from typing import Protocol

from hypermnesia.data.sources.source import Source


class Through(Protocol):
    """Called with a source of images, gives the same source with vectors (N, d) float32 in their place."""

    @property
    def size(self) -> int:
        """Pixels of a side that it scales images to."""
        ...

    def __call__(self, source: Source) -> Source: ...
