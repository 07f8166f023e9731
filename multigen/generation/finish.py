"""Samples as media: what was made goes back into the form that was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from multigen.generation.asked_texts import asked_texts
from multigen.generation.circles import shorter_circle
from multigen.generation.made import origin
from multigen.generation.parts import ModelParts, decode
from multigen.generation.plan import Job
from multigen.generation.written import source_of, writer_of
from multigen.modalities.media import Media
from multigen.safety.guard import Guard


@dataclass(frozen=True)
class Unchecked:
    """A medium that no filter has seen yet: nobody is given it but by `checked`.

    medium  as it was made
    asked   every text that it was made of
    guard   whose filters look at it
    """

    medium: Media
    asked: tuple[str, ...]
    guard: Guard

    def checked(self) -> Media:
        """The medium after the filters have seen it; Blocked where one refuses it. From any thread."""
        return self.guard.check(self.medium, self.asked)


def finish(parts: ModelParts, x: Tensor, job: Job) -> Unchecked:
    """A sample [C, *D] of model space as the medium that was asked for, before the filters see it.

    What was made for an edit goes back into its source: at the source's own rate and size, with what is kept of it.
    """
    medium = dataclasses.replace(put_back(parts, x, job), made=origin(parts, job))
    return Unchecked(medium, tuple(_asked(job)), parts.guard)


def put_back(parts: ModelParts, x: Tensor, job: Job) -> Media:
    """A sample [C, *D] of model space as a medium in the form that was asked for; it does not say how it was made."""
    plan = job.plan
    medium = decode(parts, x, job.prompt, job.seed, plan.circles.whole)
    # A mel codec made whole frames of a sound, some of which may be missing at its end.
    made = medium.tensor[(slice(None), *(slice(n) for n in plan.media[1:]))]
    if made.ndim == 2 and plan.circles and made.shape != medium.tensor.shape:
        made = shorter_circle(medium.tensor, made.shape[1])
    own = {option.name: plan.options[option.name] for option in parts.modality.options}
    if own:
        made = parts.modality.finish(made, own)
    medium = dataclasses.replace(medium, modality=writer_of(parts, plan))
    if (source := source_of(plan)) is not None:
        made = source.with_made(made, parts.modality)
        medium = dataclasses.replace(medium, kept=plan.edit.original.source.keep if plan.edit else None)
    return medium.with_tensor(made)


def _asked(job: Job) -> Iterator[str]:
    """Every text that a medium was made of."""
    plan = job.plan
    if plan.request is not None:
        yield from asked_texts(dataclasses.replace(plan.request, prompt=job.prompt), plan)
    if plan.blend is not None:
        yield plan.blend.prompt
    if plan.swap is not None:
        yield plan.swap.prompt
