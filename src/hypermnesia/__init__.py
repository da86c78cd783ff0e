"""Train any `torch.nn.Module` on a sequence of tasks without forgetting the earlier ones.

Public names are listed in `__all__` and imported when first used, so that `import hypermnesia` costs nothing.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hypermnesia.errors import HypermnesiaError as HypermnesiaError
    from hypermnesia.errors import RunFailed as RunFailed
    from hypermnesia.fit import fit as fit

__version__ = "0.1.0"
__all__ = ["HypermnesiaError", "RunFailed", "__version__", "fit"]

_HOME = {"HypermnesiaError": "errors", "RunFailed": "errors", "fit": "fit"}
"""Public name → the module below this one that defines it."""


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


class _Package(ModuleType):
    """Keeps `hypermnesia.fit` the function: importing the module of that name would put the module there."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOME:
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
