"""What every call of a guide carries beside its condition: what the network is told and shown of a medium."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.core import masks
from multigen.core.guides import Call, Guide, with_calls
from multigen.core.sliding_window import Crop
from multigen.generation.parts import ModelParts
from multigen.generation.phase import Phase
from multigen.generation.plan import Plan
from multigen.generation.shown import Shown


def told(parts: ModelParts, plan: Plan, guide: Guide) -> Guide:
    """Its calls carry what the network is told of the size of the medium, and what it hears of what is known."""
    measures = dict(parts.conditioner.measures(plan.media))
    if plan.edit is not None and plan.edit.shown is not None and plan.window is None:
        measures |= plan.edit.shown.heard
    if not measures:
        return guide

    def change(call: Call) -> Call:
        cond = call.cond
        for name, values in measures.items():
            cond = cond.with_extra(name, values)
        return call._replace(cond=cond)

    return with_calls(guide, change)


def informed(parts: ModelParts, plan: Plan, phase: Phase, guide: Guide, crop: Crop) -> Guide:
    """Its calls carry what `crop` leaves of what the network is shown.

    That is what of the source is kept, where the network takes it, and in a cascade the stage before.
    """
    shown = None if plan.edit is None else plan.edit.shown
    # Inside, so that its channels come before those of the mask, as in training.
    if parts.cascade is not None:
        cascade = parts.cascade
        guide = with_calls(guide, lambda call: call._replace(cond=cascade.told(call.cond, phase.shown, crop)))
    if shown is not None and plan.edit is not None and plan.edit.purifying is not None:
        return _shown_purified(parts, plan, phase, shown, guide, crop)
    if shown is not None:
        return masks.with_mask_channels(guide, crop(shown.channels(phase.seed)))
    return masks.with_mask_channels(guide, crop(_nothing(parts, plan))) if parts.recipe.masked else guide


def _nothing(parts: ModelParts, plan: Plan) -> Tensor:
    """The channels of a network that is shown what is known, [1, K + C, *D], where nothing is."""
    with torch.no_grad():
        known = parts.codec.unknown(plan.shape).to(parts.device)
    keep = known.new_zeros(1, parts.codec.mask_width, *known.shape[2:])
    return torch.cat([keep, known], dim=1)


def _shown_purified(
    parts: ModelParts, plan: Plan, phase: Phase, shown: Shown, guide: Guide, crop: Crop
) -> Guide:
    """Its calls carry nothing of the source until that is purified, then what is kept of the purified one."""
    blank, made = crop(_nothing(parts, plan)), list[Tensor]()

    def channels() -> Tensor:
        if phase.purified is None:
            return blank
        if not made:
            made.append(crop(shown.channels_of(phase.purified)))
        return made[0]

    return masks.with_channels(guide, channels)
