"""Members of edits, and the edit that they make with an uploaded medium."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from multigen.generation.request import EditRequest
from multigen.generation.spans import amounts
from multigen.modalities import HEIGHT
from multigen.modalities.media import Media
from multigen.modalities.pace import per_second, said
from multigen.serving.api.errors import ApiError
from multigen.serving.api.members import Members
from multigen.serving.api.sampling import Sampling, check_part
from multigen.serving.api.state import Limits


class EditMembers(Members):
    """How a medium is edited; see `multigen edit`."""

    strength: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="over 0 (as it was) to 1 (all new); 0.6, or 1 where a part is kept",
    )
    keep: str | None = Field(default=None, description="what stays of a sound or video: 0:2.5s,4s: or 0:4f")
    extend: int | str | None = Field(
        default=None,
        description="pixels all round or left,top,right,bottom; of sounds and videos 3s after, or 1s,3s",
    )
    feather: float | None = Field(
        default=None, ge=0, description="width of the fade between kept and new: seconds of sound, or pixels"
    )
    resample: int | None = Field(default=None, ge=1, le=50, description="take each step so often (RePaint)")
    purify: float | None = Field(
        default=None,
        ge=0.001,
        le=100,
        description="noise (sigma/alpha, such as 0.3) that is put on the medium and removed again before it conditions "
        "anything: hidden perturbations go",
    )
    invert: str | None = Field(default=None, description="the source's own prompt: keep its composition")
    restore: str | dict[str, Any] | None = Field(
        default=None,
        description="downsample, blur, frames, band_limit, or {name, arguments}: the damage to undo",
    )
    noise: float | None = Field(default=None, ge=0, description="with restore: noise in the medium")


class Editing(EditMembers, Sampling):
    """How a medium is edited and how what is new is made."""


class PixelEditMembers(EditMembers):
    """How a picture or video is edited."""

    fit: Literal["pad", "crop", "stretch"] | None = Field(
        default=None,
        description="how another size than the model's is seen: pad (all of it, the default), crop (the part around "
        "what is made anew), stretch",
    )
    mask_is: Literal["white", "black", "opaque", "transparent"] | None = Field(
        default=None,
        description="what of the mask is made anew; null: what is transparent, and where nothing is, what is white",
    )


def check_mask_is(given: PixelEditMembers, mask: object, member: str = "mask_is") -> None:
    """ApiError for what is said of a mask that is not there."""
    if given.mask_is is not None and mask is None:
        raise ApiError(400, f"{member}: it goes with mask", param=member, code="invalid_value")


def edit_of(given: EditMembers, medium: Media, limits: Limits, keep: Tensor | None = None) -> EditRequest:
    """The edit of a medium. `keep`: what its mask keeps, bool. MultigenError for what does not go together."""
    check_part("restore", given.restore)
    _check_grown(given, medium, limits)
    if keep is not None and given.keep is not None:
        raise ApiError(400, "keep: it does not go with mask", param="keep", code="invalid_value")
    values = {
        "strength": given.strength,
        "keep": given.keep if keep is None else keep,
        "extend": given.extend,
        "feather": given.feather,
        "resample": given.resample,
        "invert": given.invert,
        "purify": given.purify,
        "restore": given.restore,
        "noise": given.noise,
        "fit": given.fit if isinstance(given, PixelEditMembers) else None,
    }
    return EditRequest(medium, **{name: value for name, value in values.items() if value is not None})


def _check_grown(given: EditMembers, medium: Media, limits: Limits) -> None:
    """ApiError where an edit makes a medium larger than one that may be uploaded."""
    sides = list(medium.tensor.shape[1:])
    pace, drawn = per_second(medium.modality), HEIGHT in medium.modality.axes
    rate, name, factor = pace or 1.0, "extend", 1.0
    if given.extend is not None:
        added = amounts(str(given.extend), len(sides), rate)
        for k in range(len(added) // 2):
            sides[-1 - k] += added[2 * k] + added[2 * k + 1]
    if isinstance(given.restore, dict) and isinstance(given.restore.get("factor"), int | float):
        name, factor = "restore", max(float(given.restore["factor"]), 1.0)
    every = given.restore.get("every") if isinstance(given.restore, dict) else None
    if isinstance(every, int | float) and len(sides) == 3:  # so many frames come of one
        name, sides[0] = "restore", sides[0] * max(round(every), 1)
    seconds = sides[0] * factor / rate if pace else 0.0
    pixels = math.prod(sides) * factor**2 if drawn or not pace else 0
    if (given.extend is None and name == "extend") or (seconds <= limits.seconds and pixels <= limits.pixels):
        return
    most = f"{limits.pixels:,} pixels" if seconds <= limits.seconds else said(medium.modality, limits.seconds)
    text = f"{name}: it makes the medium larger or longer than {most}"
    raise ApiError(400, text, param=name, code="invalid_value")
