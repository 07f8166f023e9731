"""How a medium was made, for its file: what is always said, and what only `provenance.embed_recipe` says."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from multigen.generation.declared import media_options
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Job, Plan
from multigen.generation.request import Request
from multigen.generation.same import is_said
from multigen.modalities.media import Media
from multigen.provenance.made import Made, SourceFile
from multigen.recipe.dump import to_yaml

# Fields of a request that its recipe does not hold once it is planned.
FIELDS = ("negative_prompt", "steps", "size", "duration", "sliding_window", "tile", "loop")


def origin(parts: ModelParts, job: Job) -> Made:
    """How the medium of a job is made. It keeps no model alive, and can be pickled.

    The hash of the weights is that of now: later the model may be gone, or have others. It is computed once,
    beside the first sampling.
    """
    said, request = parts.recipe.provenance, job.plan.request
    edit = None if request is None else request.edit
    return Made(
        parts.recipe.name,
        parts.known_hash(),
        said.sign,
        edited=edit is not None,
        source=None if edit is None else source_file(edit.media),
        embedded=_embedded(job) if said.embed_recipe else None,
    )


def source_file(media: object) -> SourceFile | None:
    """The file of a medium; None of one that was made, or is in memory alone."""
    if isinstance(media, Media):
        return media.file
    if isinstance(media, str | Path):
        path = Path(media)
        return SourceFile(path.suffix.lower(), path)
    return None


def _embedded(job: Job) -> dict[str, Any]:
    """Recipe, prompt, seed and request; `needs`: what they do not hold, without which it cannot be made again."""
    plan = job.plan
    recipe = dataclasses.replace(
        plan.recipe,
        guide=plan.guide,
        seed=job.seed,
        sample=dataclasses.replace(plan.recipe.sample, n=1, prompts=(job.prompt,)),
    )
    request = plan.request or Request()
    needs = _needs(plan, request)
    return {
        "prompt": job.prompt,
        "seed": job.seed,
        "request": json.dumps(request_data(request, media_options(plan.recipe))),
        "recipe": to_yaml(recipe),
        **({"needs": needs} if needs else {}),
    }


def request_data(request: Request, media: Collection[str]) -> dict[str, Any]:
    """What a request says beside its prompt, its seed, what its recipe took over, and options that are `media`."""
    empty = Request()
    found = {name: value for name in FIELDS if (value := getattr(request, name)) != getattr(empty, name)}
    return found | {name: value for name, value in request.options.items() if name not in media}


def _needs(plan: Plan, request: Request) -> str:
    if request.edit is not None:
        return "the medium that it was edited from"
    if request.images:
        return "the pictures that led it"
    if plan.blend is not None:
        return "the other end of the blend"
    named = [name for name in sorted(media_options(plan.recipe)) if is_said(request.options.get(name))]
    return f"the medium that it was made for, {named[0]}" if named else ""
