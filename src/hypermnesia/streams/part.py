"""An index view of images with a deterministic transform: what a task trains or is tested on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hypermnesia.streams.source import Images
from hypermnesia.streams.transforms import Code, Transform


@dataclass(frozen=True, eq=False)
class Part:
    """Samples `index` of `images`, each under member `code` of `transform`, labelled with global class ids.

    A part owns indices only: parts of a hundred tasks share their images, label table and transform.
    """

    images: Images
    index: Tensor
    """int64 (n,): which samples, in order."""
    labels: Tensor
    """int64 (classes of the source,): global class id of each source class, −1 for absent."""
    transform: Transform
    code: Code = 0
    """Which member of the transform: one int for all samples, or int64 (n,)."""

    def __len__(self) -> int:
        return len(self.index)

    def batch(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The samples at `positions`, int64 (B,) in 0..len−1 → raw uint8 (B, C, H, W), class ids (B,)."""
        positions = positions.to(self.index.device)
        rows = self.index.index_select(0, positions)  # half the time of indexing, for a small batch
        code = self.code if isinstance(self.code, int) else self.code.index_select(0, positions)
        labels = self.labels.index_select(0, self.images.y.index_select(0, rows))
        return self.transform(self.images.x.index_select(0, rows), code), labels

    @property
    def y(self) -> Tensor:
        """Global class ids, int64 (n,); computed at each call, so that a thousand parts hold none."""
        return self.labels[self.images.y[self.index]]

    @property
    def ids(self) -> Tensor:
        """Sample ids: rows of the source's train or test images, int64 (n,)."""
        return self.index

    @property
    def classes(self) -> tuple[int, ...]:
        """The global class ids that occur, ascending."""
        return tuple(self.y.unique().tolist())

    def subset(self, positions: Tensor) -> "Part":
        """The part of the samples at `positions`, int64 (m,), in that order."""
        positions = positions.to(self.index.device)
        code = self.code if isinstance(self.code, int) else self.code[positions]
        return replace(self, index=self.index[positions], code=code)

    def to(self, device: torch.device | str) -> "Part":
        """This part with its images on `device`; to move a whole stream once use `Stream.to`."""
        code = self.code if isinstance(self.code, int) else self.code.to(device)
        return Part(
            self.images.to(device),
            self.index.to(device),
            self.labels.to(device),
            self.transform.to(device),
            code,
        )


def concatenate(parts: Sequence[Part]) -> Part:
    """All samples of `parts` as one part; they must view the same images under the same transform."""
    first = parts[0]
    for part in parts:
        if part.images is not first.images or part.transform is not first.transform:
            raise ValueError("concatenate: the parts view different images or transforms")
    index = torch.cat([part.index for part in parts])
    codes = {part.code for part in parts if isinstance(part.code, int)}
    if len(codes) == 1 and all(isinstance(part.code, int) for part in parts):
        return replace(first, index=index, code=codes.pop())
    return replace(first, index=index, code=torch.cat([_spread(part) for part in parts]))


def _spread(part: Part) -> Tensor:
    """The part's codes sample by sample, int64 (n,)."""
    if isinstance(part.code, int):
        return torch.full_like(part.index, part.code)
    return part.code
