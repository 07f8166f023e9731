"""multigen: diffusion models for images, audio and video.

>>> model = multigen.load("runs/image_digits")
>>> out = model.generate("7", n=4, seed=0)
>>> out[0].save("seven.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from multigen.version import __version__

if TYPE_CHECKING:
    from multigen.asking import Wish
    from multigen.changes import Change, Restoration
    from multigen.loading import load
    from multigen.model import Model
    from multigen.recipe import Recipe, load_recipe
    from multigen.registry import register

__all__ = [
    "Change",
    "Model",
    "Recipe",
    "Restoration",
    "Wish",
    "__version__",
    "load",
    "load_recipe",
    "register",
]

# Imported when first asked for, so that `import multigen` (and with it `multigen --help`) stays free of torch.
_LAZY = {
    "Change": "multigen.changes",
    "Model": "multigen.model",
    "Recipe": "multigen.recipe",
    "Restoration": "multigen.changes",
    "Wish": "multigen.asking",
    "load": "multigen.loading",
    "load_recipe": "multigen.recipe",
    "register": "multigen.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'multigen' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
