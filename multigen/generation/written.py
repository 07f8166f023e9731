"""Whether what a plan makes goes into a file, before anything is made."""

from __future__ import annotations

from collections.abc import Iterable

from multigen.errors import MediaError
from multigen.generation.cascade import Enlarged
from multigen.generation.declared import media_options
from multigen.generation.original import Original
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Plan
from multigen.generation.restore import Known
from multigen.modalities import Modality


def source_of(plan: Plan) -> Original | Known | Enlarged | None:
    """The medium that what a plan makes goes back into; None where it is made of noise alone."""
    edited = plan.edit and plan.edit.original
    return next((one for one in (edited, plan.known, plan.enlarged) if one is not None), None)


def writer_of(parts: ModelParts, plan: Plan) -> Modality:
    """What writes the media of a plan: an edit's as its source, others together with what they are made for."""
    source = source_of(plan)
    return parts.conditioner.writes(parts.modality, plan.options) if source is None else source.modality


def check_written(parts: ModelParts, plans: Iterable[Plan], suffix: str | None = None) -> None:
    """MediaError where a file cannot hold what a plan's media are made for, as that is known before there is one.

    suffix  of the file; None: the recipe's
    """
    suffix = suffix or parts.recipe.sample.suffix or parts.modality.suffix
    for plan in plans:
        try:
            writer_of(parts, plan).check_writes(suffix)
        except MediaError as error:
            named = ", ".join(sorted(media_options(parts.recipe)))
            raise MediaError(f"{named}: {error}" if named else str(error)) from error
