"""Whether what a plan makes goes into a file, before anything is made."""

from __future__ import annotations

from multigen.errors import MediaError
from multigen.generation.declared import media_options
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Plan
from multigen.modalities import Modality


def writer_of(parts: ModelParts, plan: Plan) -> Modality:
    """What writes the media of a plan: an edit's as its source, others together with what they are made for."""
    for source in (plan.edit and plan.edit.original, plan.known, plan.enlarged):
        if source is not None:
            return source.modality
    return parts.conditioner.writes(parts.modality, plan.options)


def check_written(parts: ModelParts, plan: Plan, suffix: str) -> None:
    """MediaError where a file of this suffix cannot hold what a plan's media are made for, as that is known by then."""
    try:
        writer_of(parts, plan).check_writes(suffix)
    except MediaError as error:
        named = ", ".join(sorted(media_options(parts.recipe)))
        raise MediaError(f"{named}: {error}" if named else str(error)) from error
