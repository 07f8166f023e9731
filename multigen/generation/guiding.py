"""The guide of a planned medium: the recipe's, in windows, and what an edit, a restoration or a trace puts around."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from torch import Tensor

from multigen.core.caching import Held, cached
from multigen.core.conditioning import Cond
from multigen.core.guides import Answers, Guide, Query, plain, with_calls
from multigen.core.modifiers import fill, observe, posterior, posterior_in_windows, watch
from multigen.core.sliding_window import Crop, sliding_windows
from multigen.generation.caching import caching_of
from multigen.generation.edit import EditPlan
from multigen.generation.guidance import guided
from multigen.generation.informed import informed, told
from multigen.generation.parts import ModelParts
from multigen.generation.phase import Phase
from multigen.generation.plan import Plan
from multigen.generation.window_conds import WindowConds, conditional, unconditional


def guide_of(parts: ModelParts, conds: WindowConds, plan: Plan, phase: Phase) -> Guide:
    """The guide of a request; a network that was trained to inpaint sees what is kept in every call."""
    guide = told(parts, plan, _wrapped(parts, conds, plan, phase))
    if network := plan.circles.network:
        guide = with_calls(guide, lambda call: call._replace(closed=network))
    if plan.window is not None:  # each window sees its own part
        return guide
    return informed(parts, plan, phase, guide, lambda x: x)


def _wrapped(parts: ModelParts, conds: WindowConds, plan: Plan, phase: Phase) -> Guide:
    """The recipe's guide and modifiers, in windows, and around them what a restoration, a trace or an edit adds."""
    guide = _restoring(parts, plan, phase, conds, lambda cond: _watched(parts, cond, plan, phase))
    edit = plan.edit
    if plan.observer is not None:
        # What is asked aside sees the whole medium, for which a window is too small.
        asides = [conditional(parts, plan, prompt) for prompt in plan.asides if plan.window is None]
        maps = plan.window is None
        guide = observe(guide, conds.own, parts.denoiser, plan.observer, maps=maps, others=asides)
    if edit is None:
        return guide
    if edit.keep is not None and not parts.denoiser.backbone.begins:
        guide = _kept(guide, edit, edit.keep, phase)
    if edit.invert is not None:
        source = WindowConds(parts, edit.invert, plan)
        up = _windowed(parts, plan, phase, source, lambda cond: plain(cond, cond))
        guide = _chosen(lambda: phase.inverting, up, guide)
    if edit.purifying is None:
        return guide
    null = unconditional(parts, dataclasses.replace(plan, negative_prompt=""))

    def alone(cond: Cond) -> Guide:
        return plain(null.without_grid(cond), null.without_grid(cond))

    return _chosen(lambda: phase.purifies(edit), _windowed(parts, plan, phase, conds, alone), guide)


def _kept(guide: Guide, edit: EditPlan, keep: Tensor, phase: Phase) -> Guide:
    """The guide with what is kept of the source as that conditions."""
    if edit.purifying is None:
        return fill(guide, edit.x0, keep)

    def filled(q: Query) -> Answers:
        return (yield from fill(guide, phase.source(edit), keep)(q))

    return filled


def _watched(parts: ModelParts, cond: Cond, plan: Plan, phase: Phase) -> Guide:
    """The recipe's guide, which notes where it leaves what the network was trained on."""
    guide = _recipe_guide(parts, cond, plan, phase)
    if plan.guide.name == "plain" or any(part.name in ("within", "interval") for part in plan.modifiers):
        return guide
    return watch(guide, cond, parts.denoiser, lambda far, snr: phase.noted.append((far, snr)))


def _recipe_guide(parts: ModelParts, cond: Cond, plan: Plan, phase: Phase) -> Guide:
    guide = guided(
        plan.guide,
        plan.modifiers,
        cond=cond,
        null=unconditional(parts, plan).without_grid(cond),
        denoiser=parts.denoiser,
        encode=lambda prompt: conditional(parts, plan, prompt).with_grid_of(cond),
        load=parts.load_denoiser,
    )
    phase.held.append(held := Held())
    return cached(guide, cond, parts.denoiser, caching_of(parts, plan.cache), held)


def _restoring(
    parts: ModelParts, plan: Plan, phase: Phase, conds: WindowConds, make: Callable[[Cond], Guide]
) -> Guide:
    """The guide in windows, corrected by what is known of a medium that is restored."""
    known = plan.known
    if known is None:
        return _windowed(parts, plan, phase, conds, make)
    settings = {
        "gain": known.operator.gain,
        "noise": known.noise * known.operator.deviation,
        "sigma_data": parts.codec.sigma_data,
    }
    if plan.window is None:
        return posterior(make(conds.own), parts.denoiser, known.operator, known.values, **settings)
    return posterior_in_windows(
        lambda crop: informed(parts, plan, phase, make(conds.of(crop)), crop),
        plan.window,
        parts.denoiser,
        known.operator,
        known.values,
        **settings,
    )


def _windowed(
    parts: ModelParts, plan: Plan, phase: Phase, conds: WindowConds, make: Callable[[Cond], Guide]
) -> Guide:
    """One guide, or one for each window where the medium is larger than the model's own size."""
    if plan.window is None:
        return make(conds.own)

    def one(crop: Crop) -> Guide:
        return informed(parts, plan, phase, make(conds.of(crop)), crop)

    circles = plan.circles
    return sliding_windows(one, plan.window, closed=circles.windows, poles=circles.poles)


def _chosen(first: Callable[[], bool], one: Guide, other: Guide) -> Guide:
    """One guide while `first` holds, then another."""

    def guide(q: Query) -> Answers:
        return (yield from (one if first() else other)(q))

    return guide
