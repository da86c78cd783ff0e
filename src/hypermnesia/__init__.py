"""Train any `torch.nn.Module` on a sequence of tasks without forgetting the earlier ones.

The public names stand in `__init__.pyi` and are imported when first used, so that `import hypermnesia` costs nothing.
"""

import os

import lazy_loader

# cuBLAS reads it when it starts, and sums in any order without: runs on a GPU would not repeat.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
