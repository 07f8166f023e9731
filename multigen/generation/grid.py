"""The grid of times of a request."""

from __future__ import annotations

import inspect

from torch import Tensor

from multigen import registry
from multigen.errors import RecipeError
from multigen.generation.parts import ModelParts
from multigen.registry import Part


def grid(parts: ModelParts, part: Part, steps: int, places: int) -> Tensor:
    """The grid of times, float64 [steps + 1], of a sample that has so many places.

    RecipeError where the timesteps do not go with the schedule.
    """
    timesteps = registry.build("timesteps", part, where="timesteps")
    takes = inspect.signature(registry.lookup("timesteps", part.name)).parameters
    try:
        ts: Tensor = timesteps(parts.denoiser.schedule, steps, *([places] if "places" in takes else []))
        parts.denoiser.remember(ts)
    except ValueError as error:
        raise RecipeError(f"timesteps ({part.name}): {error}") from error
    return ts
