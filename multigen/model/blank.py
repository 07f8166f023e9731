"""The condition of a call that is told nothing, with every part that the network wants."""

from __future__ import annotations

import torch

from multigen.core.backbone import lead_name
from multigen.core.conditioning import Cond
from multigen.model.compatibility import with_channels
from multigen.model.model import Model


@torch.no_grad()
def blank(model: Model, shape: tuple[int, ...]) -> Cond:
    """The condition [1, ...] of samples of `shape` [C, *D]: no prompt, no picture, nothing of the stage before."""
    cond = model.conditioner.null(1).to(model.device)
    if model.cascade is not None:
        cond = model.cascade.blank(cond)
    for number, _ in enumerate(one for one in model.recipe.adapters if one.leads):
        lead = model.denoiser.backbone.lead(number, torch.zeros(3, 64, 64, device=model.device), shape)
        cond = cond.with_extra(lead_name(number), lead.null)
    return with_channels(model.recipe, model.conditioner.spec, model.codec, cond, shape, model.cascade)
