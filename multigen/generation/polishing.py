"""Polish: passes over the finished sample, which assume a little noise."""

from __future__ import annotations

import dataclasses
import math

from torch import Tensor

from multigen.core.samplers import polish_time
from multigen.errors import RecipeError, errors_at
from multigen.generation.parts import ModelParts
from multigen.recipe.schema import Polish


def check_polish(parts: ModelParts, polish: Polish) -> None:
    """RecipeError where the schedule does not have the level of noise that is polished at."""
    if polish.passes:
        with errors_at("sample.polish.noise", RecipeError):
            polish_time(parts.denoiser.schedule, polish.noise)


def no_stronger(parts: ModelParts, polish: Polish, ts: Tensor) -> Polish:
    """The polish of an edit: none where the edit begins with less noise than that assumes."""
    begins = math.exp(-float(parts.denoiser.schedule.log_snr(ts[:1])) / 2)
    return polish if begins >= polish.noise else dataclasses.replace(polish, passes=0)
