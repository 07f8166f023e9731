"""A checked `Recipe` from a file, a text or another recipe, with overrides."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.errors import RecipeError
from multigen.recipe.compose import compose
from multigen.recipe.dump import to_yaml
from multigen.recipe.reader import parse
from multigen.recipe.schema import Recipe
from multigen.recipe.source import chain, find_recipe
from multigen.recipe.validate import Draft, draft, to_recipe


def load_recipe(path_or_name: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe from a YAML file, a run folder or the name of a shipped recipe, with overrides.

    Overrides are written in Hydra's grammar: `key=value`, `+key=value`, `~key`. Keys, types, ranges, parts and their
    arguments are checked; nothing is built. RecipeError names the file and line, the key, what was given, what is
    allowed and the nearest match.
    """
    return draft_recipe(path_or_name, overrides).checked()


def draft_recipe(path_or_name: str, overrides: Sequence[str] = ()) -> Draft:
    """As `load_recipe`, as far as it is known without importing its parts (`Draft.checked` checks the rest)."""
    return draft(compose(chain(find_recipe(path_or_name)), overrides))


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """Load a recipe from YAML text, with the same checks. `where` names it in messages. It cannot extend others."""
    source = parse(text, where)
    if source.defaults != ["_self_"]:
        raise RecipeError(f"{where}:{source.lines['defaults']}: `defaults` is allowed in recipe files only.")
    return to_recipe(compose([source], overrides))


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """Apply overrides to a recipe, with the checks of `load_recipe`."""
    return parse_recipe(to_yaml(recipe), recipe.name, overrides)
