"""A checked `Recipe` from a file, a text or another recipe, with overrides."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.errors import RecipeError
from multigen.recipe.compose import compose
from multigen.recipe.dump import to_yaml
from multigen.recipe.schema import Recipe
from multigen.recipe.source import chain, find, parse
from multigen.recipe.validate import to_recipe


def load_recipe(path_or_name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, a run folder or the name of a shipped recipe, with overrides as Hydra reads them.

    Everything in it is checked (keys, types, ranges, parts and their arguments) and nothing is built. RecipeError
    names the file and line, the place, what was given, what is allowed and what is nearest.
    """
    return to_recipe(compose(chain(find(path_or_name)), overrides))


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its YAML text, under the same checks; `where` names the text in messages. It extends no other."""
    source = parse(text, where)
    if source.defaults != ["_self_"]:
        raise RecipeError(
            f"{where}:{source.lines['defaults']}: `defaults` needs a recipe file; this is a text."
        )
    return to_recipe(compose([source], overrides))


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe under overrides, checked as if they had been given when it was loaded."""
    return parse_recipe(to_yaml(recipe), recipe.name, overrides)
