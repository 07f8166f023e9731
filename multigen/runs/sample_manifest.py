"""What a manifest records of how each medium was made."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.generation.part_like import operator_part
from multigen.generation.plan import Plan
from multigen.generation.request import EditRequest, Picture, Request
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.runs.media_set import sampling_facts

log = logging.getLogger(__name__)


def facts(
    request: Request, plan: Plan, source: Mapping[str, Any], inversion_error: float | None = None
) -> dict[str, Any]:
    """How the media of a request were made: the parts of its plan, and what it was made from (`Sources.facts`)."""
    cache = None if plan.cache.name == "off" else plan.cache
    recipe = dataclasses.replace(
        plan.recipe, guide=plan.guide, sample=dataclasses.replace(plan.recipe.sample, cache=cache)
    )
    recorded = sampling_facts(recipe, request.steps)
    if request.negative_prompt is not None:
        recorded["negative_prompt"] = request.negative_prompt
    if request.images:
        recorded["images"] = [_named(picture) for picture in request.images]
    if request.options:
        recorded["options"] = {name: _recorded(value) for name, value in request.options.items()}
    if plan.heard:  # of options that the request and the prompt leave open
        recorded["heard"] = {name: one._asdict() for name, one in plan.heard.items()}
    if "media" in source:
        recorded["media"] = source["media"]
    closed = {"tile": request.tile, "loop": request.loop}
    recorded |= {name: value for name, value in closed.items() if value and request.edit is None}
    if request.edit is not None:
        asked = {"sliding_window": request.sliding_window, **closed}
        windows = {name: value for name, value in asked.items() if value}
        error = {} if inversion_error is None else {"inversion_error": inversion_error}
        medium = {name: value for name, value in source.items() if name != "media"}
        recorded["edit"] = {**edit_facts(request.edit), **medium, **windows, **error}
    return recorded


def _recorded(value: Any) -> Any:
    """The value of an option; a medium by its file, or by its shape where it was in memory."""
    return _named(value) if isinstance(value, Path | Tensor | Media) else value


def _named(picture: Picture | None) -> str | None:
    """A picture by its file, or by its shape where it was in memory."""
    if picture is None or isinstance(picture, str | Path):
        return None if picture is None else str(picture)
    tensor = picture if isinstance(picture, Tensor) else picture.tensor
    return f"tensor {list(tensor.shape)}"


def edit_facts(edit: EditRequest) -> dict[str, Any]:
    """The options that an edit gives."""
    recorded = {
        k: v for k, v in edit.given.items() if k not in ("media", "restore") and not isinstance(v, Tensor)
    }
    recorded = {k: str(v) if isinstance(v, Path) else v for k, v in recorded.items()}
    if edit.restore is not None:
        part = operator_part(edit.restore)
        recorded["operator"] = {"name": part.name, **part.args}
    return recorded


def inversion_errors(model: Model, requests: Sequence[Request]) -> dict[int, float]:
    """What inversion loses, by the number of the request: root mean square of full scale.

    Each inverted source goes up in noise and back, without guidance, under its own prompt.
    """
    back: dict[tuple[object, ...], tuple[Request, list[int]]] = {}
    for number, request in enumerate(requests):
        edit = request.edit
        if edit is None or edit.invert is None:
            continue
        alone = EditRequest(edit.media, strength=edit.strength, invert=edit.invert)
        same = dataclasses.replace(
            request, prompt=edit.invert, seed=None, guidance_scale=1.0, negative_prompt="", edit=alone
        )
        key = (id(edit.media), edit.strength, edit.invert, dataclasses.replace(same, edit=None))
        back.setdefault(key, (same, []))[1].append(number)
    found: dict[int, float] = {}
    made = model.batcher([request for request, _ in back.values()])
    groups = [numbers for _, numbers in back.values()]
    for place, medium in made:
        edit = made.jobs[place].plan.edit
        assert edit is not None
        error = round(float((medium.tensor - edit.original.source.media).square().mean().sqrt()), 4)
        log.info("inversion and back: %.3f of full scale from the source", error)
        found |= dict.fromkeys(groups[place], error)
    return found
