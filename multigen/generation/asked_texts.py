"""Every text of a request that a model hears: what the filters of prompts look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from multigen import registry
from multigen.generation.request import Request
from multigen.recipe.schema import Recipe
from multigen.registry import Part


class Stage(Protocol):
    """What is looked at of a plan: that of one stage, with that of the stage before."""

    @property
    def recipe(self) -> Recipe:
        """How the stage samples."""
        ...

    @property
    def guide(self) -> Part:
        """Its guide, with the request's own scale."""
        ...

    @property
    def modifiers(self) -> tuple[Part, ...]:
        """What wraps the guide."""
        ...

    @property
    def negative_prompt(self) -> str | None:
        """What guidance leads away from."""
        ...

    @property
    def former(self) -> Stage | None:
        """The stage before."""
        ...


def asked_texts(request: Request, plan: Stage) -> Iterator[str]:
    """The prompt, that of an inversion, words at the opening and the ending, and texts that guides take.

    plan  of the request; of a cascade, what each stage hears is among them

    What is to be avoided, by a negative prompt or the modifier `safe`, is not among them; a negative prompt is where
    the guide leads towards it.
    """
    yield request.prompt
    if request.edit is not None and request.edit.invert:
        yield request.edit.invert
    stage: Stage | None = plan
    while stage is not None:
        sample = stage.recipe.sample
        yield from (text for text in (sample.opening, sample.ending) if text)
        for part in (stage.guide, *stage.modifiers):
            if part.name != "safe":
                yield from _texts(part.args)
        if stage.negative_prompt and _leads_to_null(stage.guide):
            yield stage.negative_prompt
        stage = stage.former


def _leads_to_null(guide: Part) -> bool:
    """Whether a guide may lead towards the unconditional or negative prediction instead of away from it.

    cfg, cfg_zero, apg  weigh it by 1 - scale; apg turns round with a norm below 0, or a momentum below -1
    compose             weighs it by 1 - scale - the sum of the weights
    others              are not known: they do below scale 1, and where they have no scale
    """
    if guide.name in ("plain", "distilled", "autoguidance"):
        return False
    listed = {a.name: a.default for a in registry.arguments("guide", guide.name, "guide")}
    known: dict[str, Any] = {**listed, **registry.check("guide", guide)}
    if not _above(known.get("scale"), 1) or not _above(
        1 if known.get("first") is None else known["first"], 1
    ):
        return True
    if guide.name == "compose":
        return not _above(known["scale"] + sum(known["weights"]), 1)
    return guide.name == "apg" and not (_above(known["norm"] or 0, 0) and _above(known["momentum"], -1))


def _above(value: Any, least: float) -> bool:
    """Whether it is a number of at least `least`; not a number is none."""
    return isinstance(value, int | float) and value >= least


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from (*_texts(key), *_texts(one))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)
