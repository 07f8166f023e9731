"""A trained model, as the commands that sample with it open it."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.model.compatibility import check_combination
from multigen.model.diffusers import animated
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.sampling import sampling_recipe


def open_model(source: str, overrides: Sequence[str] = (), device: str | None = None) -> Model:
    """Load a trained model, with overrides of how it samples. MultigenError for parts that do not fit together."""
    found = find(source)
    recipe = animated(sampling_recipe(found.recipe, overrides))
    check_combination(recipe)
    return Model.of(found, recipe, device=device)
