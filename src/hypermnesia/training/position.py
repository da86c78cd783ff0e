"""Where a run stands between two events, and how it leaves work in the middle."""

from dataclasses import dataclass

from torch import Tensor


class Abandoned(BaseException):
    """A run that was asked to stop has left its work in the middle. `whole`: it can be saved as it stands, and will do
    that work again."""

    def __init__(self, whole: bool) -> None:
        super().__init__()
        self.whole = whole


@dataclass
class Taken:
    """A step that has been taken, its loss and terms, and not been announced yet: an evaluation comes before."""

    loss: Tensor
    terms: dict[str, Tensor]


@dataclass
class Position:
    """Where in the stream a run is. `started` says whether the task's rows have been added already, `ended` whether its
    end has been dealt with, but for the evaluation there."""

    task: int = 0
    started: bool = False
    phase: int = 0
    step: int = 0
    phase_started: bool = False
    ended: bool = False
    taken: Taken | None = None
