"""A trained model, as the commands that sample with it open it."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.model.compatibility import check_combination
from multigen.model.diffusers import animated
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.sampling import sampling_recipe

CONFIG = "backbone.config="


def open_model(source: str, overrides: Sequence[str] = (), device: str | None = None) -> Model:
    """Load a trained model, with overrides of how it samples. MultigenError for parts that do not fit together.

    Of a single file `backbone.config` says where the rest of the pipeline stands.
    """
    configs = [one.removeprefix(CONFIG) for one in overrides if one.startswith(CONFIG)]
    found = find(source, configs[-1] if configs else None)
    recipe = animated(sampling_recipe(found.recipe, [one for one in overrides if not one.startswith(CONFIG)]))
    check_combination(recipe)
    return Model.of(found, recipe, device=device)
