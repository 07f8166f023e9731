"""multigen: diffusion models for images, audio and video.

>>> model = multigen.load("runs/image_digits")
>>> media = model.generate("7", n=4, seed=0)
>>> media[0].save("seven.png")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from multigen.version import __version__

if TYPE_CHECKING:
    from multigen import core
    from multigen.errors import MultigenError
    from multigen.generation.request import EditRequest, Request
    from multigen.modalities.media import Media
    from multigen.model.export import export
    from multigen.model.load import load
    from multigen.model.model import Model
    from multigen.recipe.load import load_recipe
    from multigen.recipe.schema import Recipe
    from multigen.registry import Part, register
    from multigen.runs.evaluate import evaluate
    from multigen.runs.explain import explain
    from multigen.runs.train import train

__all__ = [
    "EditRequest",
    "Media",
    "Model",
    "MultigenError",
    "Part",
    "Recipe",
    "Request",
    "__version__",
    "core",
    "evaluate",
    "explain",
    "export",
    "load",
    "load_recipe",
    "register",
    "train",
]

# Imported when first used, so that `import multigen` (and with it `multigen --help`) stays free of torch.
_LAZY = {
    "EditRequest": "multigen.generation.request",
    "Media": "multigen.modalities.media",
    "Model": "multigen.model.model",
    "MultigenError": "multigen.errors",
    "Part": "multigen.registry",
    "Recipe": "multigen.recipe.schema",
    "Request": "multigen.generation.request",
    "evaluate": "multigen.runs.evaluate",
    "explain": "multigen.runs.explain",
    "export": "multigen.model.export",
    "load": "multigen.model.load",
    "load_recipe": "multigen.recipe.load",
    "register": "multigen.registry",
    "train": "multigen.runs.train",
}


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used."""
    if name == "core":
        return importlib.import_module("multigen.core")
    if name not in _LAZY:
        raise AttributeError(f"module 'multigen' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
