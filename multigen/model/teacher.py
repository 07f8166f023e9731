"""The teacher of a distillation: a trained model, guided and polished as its recipe samples."""

from __future__ import annotations

import dataclasses
from typing import Any

from multigen import registry
from multigen.core.conditioning import Cond
from multigen.core.guides import Guide
from multigen.errors import RecipeError
from multigen.generation.grid import grid
from multigen.generation.guidance import guide_part, guided
from multigen.model.model import Model
from multigen.model.source import find_weights
from multigen.recipe.manifest import recipe_changes
from multigen.recipe.sampling import TRAINED, without_decoding
from multigen.recipe.schema import Recipe
from multigen.training.distillation import Distillation, Teacher

# What a student may have of its own: its network, and what that predicts.
_OWN = ("backbone", "prediction", "data")


def build_distillation(model: Model) -> Distillation | None:
    """How a model's training learns from a teacher, if it does. RecipeError where the two do not go together."""
    distill = model.recipe.train.distill
    if distill is None:
        return None
    found = find_weights(distill.teacher)
    check_teacher(model.recipe, found.recipe)
    teacher = Model.of(found, device=str(model.device))
    teacher.denoiser.requires_grad_(False)
    places = 1
    for side in model.codec.shape(model.modality.shape())[1:]:
        places *= side
    given: dict[str, Any] = {
        "teacher": Teacher(teacher.denoiser, _guiding(teacher), teacher.recipe.sample.polish),
        "student": model.denoiser,
        "encode": teacher.encode,
        "grid": grid(model, model.recipe.timesteps, model.recipe.sample.steps, places),
    }
    method: Distillation = registry.build(
        "distillation", distill.method, where="train.distill.method", given=given
    )
    _check_comparable(model.recipe, method)
    return method


def _check_comparable(student: Recipe, method: Distillation) -> None:
    """RecipeError where held-out losses would choose the weights though they do not tell good students from bad."""
    train = student.train
    for place, value in {"train.patience": train.patience, "train.keep_best": train.keep_best}.items():
        if value and not method.comparable:
            name = train.distill and train.distill.method.name
            allowed = "0" if place == "train.patience" else "false"
            raise RecipeError(
                f"{place}: {value} is not allowed with train.distill.method {name}, whose loss is normalised and says "
                f"little of how good a student is. Allowed: {allowed}"
            )


def check_teacher(student: Recipe, teacher: Recipe) -> None:
    """RecipeError where a teacher makes something else than the student, or of another condition or noise."""
    same = [key for key in TRAINED if key not in _OWN]
    rows = [
        f"{key}: {old!r} there, {new!r} here"
        for key, old, new in recipe_changes(without_decoding(teacher), without_decoding(student))
        if key.partition(".")[0] in same
    ]
    if rows:
        raise RecipeError(
            f"train.distill.teacher: {student.train.distill and student.train.distill.teacher} was trained with other "
            f"settings ({'; '.join(rows[:6])}). Allowed: another {', '.join(_OWN)}"
        )


def _guiding(teacher: Model) -> Any:
    recipe = dataclasses.replace(teacher.recipe)

    def guiding(cond: Cond, null: Cond, scale: float | None) -> Guide:
        return guided(
            guide_part(recipe.guide, scale),
            recipe.modifiers,
            cond=cond,
            null=null,
            denoiser=teacher.denoiser,
            encode=teacher.encode,
            load=teacher.load_denoiser,
        )

    return guiding
