"""Guidance: a recipe's guide with its modifiers around it, built for one condition."""

from __future__ import annotations

import inspect
import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multigen import registry
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Guide
from multigen.errors import MultigenError, RecipeError, errors_at, message
from multigen.recipe.schema import Recipe
from multigen.registry import Part

log = logging.getLogger(__name__)

# Of the conditional prediction, in weak noise: colours turn there (image_emoji: 0.06 at scale 2.5, 0.15 at 5, 0.6 at 8)
_FAR = 0.3
# Guides that tell a network no scale, though it may take one.
_SILENT = ("plain", "cfg")


def guided(
    guide: Part,
    modifiers: Sequence[Part],
    *,
    cond: Cond,
    null: Cond,
    denoiser: Denoiser,
    encode: Callable[[str], Cond],
    load: Callable[[str], Denoiser],
) -> Guide:
    """The guide that the parts make, the first modifier innermost. RecipeError where one refuses its arguments.

    Each part takes what it needs, by the names of its positional parameters: `cond` and `null` (conditions),
    `denoiser`, `encode` (a prompt's condition), `load` (another denoiser from its weights); a modifier `guide`, the
    one inside.
    """
    known: dict[str, Any] = {"cond": cond, "null": null, "denoiser": denoiser, "encode": encode, "load": load}
    made: Guide = _made("guide", guide, "guide", known)
    for number, part in enumerate(modifiers):
        made = _made("modifier", part, f"modifiers.{number}", {**known, "guide": made})
    return made


def _made(kind: str, part: Part, where: str, known: Mapping[str, Any]) -> Guide:
    function = registry.build(kind, part, where=where)
    parameters = inspect.signature(registry.lookup(kind, part.name)).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if missing := [name for name in names if name not in known]:
        raise TypeError(f"{kind} {part.name} takes {missing[0]!r}; there are {', '.join(known)}")
    with errors_at(f"{where} ({part.name})", RecipeError):
        return function(*(known[name] for name in names))


def guide_part(guide: Part, scale: float | None) -> Part:
    """The guide at another guidance scale; MultigenError if it has none. A plain one becomes cfg."""
    if scale is None:
        return guide
    if not math.isfinite(scale):
        raise MultigenError(f"guidance_scale: {scale} is not allowed; give a finite number")
    name = "cfg" if guide.name == "plain" else guide.name
    allowed = [a.name for a in registry.arguments("guide", name, "guide")]
    if "scale" not in allowed:
        raise MultigenError(message("guidance_scale", scale, allowed, hint=f"The guide {name} has no scale."))
    return Part(name, {**guide.args, "scale": float(scale)})


def asked_guide(recipe: Recipe, scale: float | None) -> Part:
    """The recipe's guide at a guidance scale.

    MultigenError for one that a student, which was taught the guided answers, would apply once more.
    """
    if recipe.fast and recipe.guide.name == "plain" and scale not in (None, 1):
        raise MultigenError(
            f"guidance_scale: {scale:g} is not allowed with fast: the student has its teacher's guidance within it. "
            "Leave it away, or sample without fast"
        )
    return guide_part(recipe.guide, scale)


def say_strong(guide: Part, noted: Sequence[tuple[Tensor, float]]) -> None:
    """Warn where guidance led away from what the network was trained on: what `watch` noted, for a finished medium.

    The text is the same for all media, so that Python says it once.
    """
    if not noted:
        return
    furthest = torch.stack([far.max() for far, _ in noted])
    far, which = (one.item() for one in furthest.max(0))  # the one wait for the device
    if not far > _FAR:
        return
    snr = noted[int(which)][1]
    scale = guide.args.get("scale")
    log.debug("guidance moves a sample by %.0f%% at log-SNR %.1f", 100 * far, snr)
    warnings.warn(
        f"guidance{'' if scale is None else f' {scale:g}'} moves what is made by more than {100 * _FAR:.0f}% in weak "
        "noise, beyond what the model was trained on: colours and levels go wrong. Lower it, or end it there: "
        "modifiers=[{name: within}]",
        stacklevel=2,
    )


def check_negative(guide: Part, negative: str) -> None:
    """MultigenError for a negative prompt that has no effect: without guidance, or with a guide that takes none."""
    if not negative.strip():
        return
    parameters = inspect.signature(registry.lookup("guide", guide.name)).parameters
    if guide.name == "plain" or _off(guide, parameters):
        raise MultigenError(
            f"negative_prompt: {negative!r} has no effect without guidance; give a guidance scale above 1, such as 3"
        )
    if "null" not in parameters:
        raise MultigenError(
            f"negative_prompt: {negative!r} has no effect with the guide {guide.name}; use guide.name=cfg"
        )


def _off(guide: Part, parameters: Mapping[str, inspect.Parameter]) -> bool:
    """Whether the scale turns the guide off. That of `compose` turns off one of several prompts."""
    if "scale" not in parameters or guide.name == "compose":
        return False
    return guide.args.get("scale", parameters["scale"].default) == 1 and guide.args.get("first") in (None, 1)


def _check_told(guide: Part, denoiser: Denoiser) -> None:
    """Warn of a guide that leaves a network without the guidance scale that it takes as an input."""
    if denoiser.backbone.distilled and guide.name in _SILENT:
        log.warning(
            "guide: this network takes the guidance scale as an input, and %s tells it none, so it takes 0 or its own "
            "default. Tell it one: guide={name: distilled, scale: 3}",
            guide.name,
        )


def check_guidance(recipe: Recipe, denoiser: Denoiser) -> None:
    """RecipeError where the recipe's grid, guide, modifiers or sampler do not go with the denoiser."""
    schedule, nothing = denoiser.schedule, Cond()
    _check_told(recipe.guide, denoiser)
    timesteps = registry.build("timesteps", recipe.timesteps, where="timesteps")
    with errors_at(f"timesteps ({recipe.timesteps.name}) and schedule ({recipe.schedule.name})", RecipeError):
        ts = timesteps(schedule, recipe.sample.steps)
    with errors_at(
        f"prediction ({recipe.prediction.name}) and timesteps ({recipe.timesteps.name})", RecipeError
    ):
        denoiser.remember(ts)
    guided(
        recipe.guide,
        recipe.modifiers,
        cond=nothing,
        null=nothing,
        denoiser=denoiser,
        encode=lambda _: nothing,
        load=lambda _: denoiser,
    )
    sampler = registry.build("sampler", recipe.sampler, where="sampler")
    with errors_at(f"sampler ({recipe.sampler.name})", RecipeError):
        next(sampler(schedule, torch.zeros(1, 1, 1), ts, lambda purpose, index: torch.zeros(1, 1, 1)))
