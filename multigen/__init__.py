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
    from multigen.generation.request import EditRequest, Request
    from multigen.model.load import load
    from multigen.model.model import Model
    from multigen.recipe.load import load_recipe
    from multigen.recipe.schema import Recipe
    from multigen.registry import register

__all__ = [
    "EditRequest",
    "Model",
    "Recipe",
    "Request",
    "__version__",
    "load",
    "load_recipe",
    "register",
]

# Imported when first asked for, so that `import multigen` (and with it `multigen --help`) stays free of torch.
_LAZY = {
    "EditRequest": "multigen.generation.request",
    "Model": "multigen.model.model",
    "Recipe": "multigen.recipe.schema",
    "Request": "multigen.generation.request",
    "load": "multigen.model.load",
    "load_recipe": "multigen.recipe.load",
    "register": "multigen.registry",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'multigen' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
