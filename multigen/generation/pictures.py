"""Pictures that lead a network: those of a request, and those of the model's adapters where a request gives none."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from multigen.core.backbone import Backbone, Lead, lead_name
from multigen.core.conditioning import Cond
from multigen.errors import MultigenError
from multigen.generation.parts import ModelParts
from multigen.generation.request import Picture, Request
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.raster import to_channels


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures of a plan, one for each adapter, [3, H, W] in [-1, 1].

    backbone, shape, device  of what is made, [C, *D] in model space
    """

    pictures: tuple[Tensor, ...]
    backbone: Backbone
    shape: tuple[int, ...]
    device: torch.device

    @cached_property
    def leads(self) -> list[Lead]:
        """What they say to the network. Read when it is first asked for: a network may read them."""
        with torch.no_grad():
            return [
                self.backbone.lead(number, picture.to(self.device), self.shape)
                for number, picture in enumerate(self.pictures)
            ]

    def on(self, cond: Cond) -> Cond:
        """A condition, with what the pictures say."""
        for number, lead in enumerate(self.leads):
            cond = cond.with_extra(lead_name(number), lead.cond)
        return cond

    def off(self, null: Cond) -> Cond:
        """An unconditional condition, with what stands for them there."""
        for number, lead in enumerate(self.leads):
            null = null.with_extra(lead_name(number), lead.null)
        return null


def plan_pictures(parts: ModelParts, request: Request, shape: tuple[int, ...]) -> Pictures:
    """The pictures of a request. MultigenError for too many, and for one that neither it nor the model has."""
    adapters = [one for one in parts.recipe.adapters if one.leads]
    given = request.images
    if len(given) > len(adapters):
        allowed = f"up to {len(adapters)}, one for each of the model's adapters" if adapters else "none"
        hint = "" if adapters else "; adapters=[{name: ip_adapter, path: FILE}] take pictures"
        raise MultigenError(f"images: {len(given)} pictures are not allowed. Allowed: {allowed}{hint}.")
    found: list[Tensor] = []
    for number, adapter in enumerate(adapters):
        own = given[number] if number < len(given) else None
        picture = parts.pictures[number] if own is None else read_picture(own)
        if picture is None:
            raise MultigenError(
                f"images: there is no picture for adapter {number + 1} ({adapter.name}). Give one: --image PICTURE "
                '(in Python images=["PICTURE"]), or image in the adapter itself'
            )
        found.append(picture)
    return Pictures(tuple(found), parts.denoiser.backbone, shape, parts.device)


def read_picture(picture: Picture) -> Tensor:
    """A picture as [3, H, W] in [-1, 1]. MediaError names a file's fault; MultigenError for what is no picture."""
    if isinstance(picture, str | Path):
        path = Path(picture).expanduser()
        return guarded(path, Image().read, path)
    tensor = picture.tensor if isinstance(picture, Media) else picture
    if tensor.ndim != 3 or len(tensor) not in (1, 3, 4):
        raise MultigenError(
            f"images: shape {list(tensor.shape)} is not allowed. Allowed: a picture, [3, H, W] in [-1, 1]."
        )
    return to_channels(tensor.float(), 3)
