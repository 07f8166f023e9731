"""Students beside the weights of their teachers: LoRAs that `fast` samples with."""

from __future__ import annotations

from multigen.errors import RecipeError
from multigen.recipe.schema import Recipe
from multigen.recipe.students import student_of
from multigen.storage import lora
from multigen.storage.lora import Adapter


def with_student(recipe: Recipe, own: Adapter | None) -> Adapter | None:
    """The LoRA that a recipe's weights sample with: its student's, or what their own training made.

    RecipeError where there are both.
    """
    path = student_of(recipe)
    if path is None:
        return own
    if own is not None:
        raise RecipeError(
            f"fast: {recipe.name} is a LoRA itself, and a student stands beside whole weights. Give it as one of "
            "loras=[...] of its base"
        )
    return lora.read(path)
