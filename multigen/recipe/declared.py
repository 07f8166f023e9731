"""What a request to a model may say beside what every request may: as far as it is known without importing a part."""

from __future__ import annotations

from multigen.options import BUILTIN, CONDITIONERS, Option
from multigen.parts import BUILTIN as PARTS
from multigen.recipe.schema import Recipe


def builtin_options(recipe: Recipe) -> tuple[Option, ...] | None:
    """The options that modality and conditioner declare; None where one of them is not multigen's own."""
    modality, conditioner = recipe.makes, recipe.conditioner
    if modality not in BUILTIN or conditioner.name not in PARTS["conditioner"]:
        return None
    declares = CONDITIONERS.get(conditioner.name)
    return (*BUILTIN[modality], *(() if declares is None else declares(conditioner.args)))
