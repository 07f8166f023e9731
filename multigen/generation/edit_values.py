"""Values of an edit that are wrong whatever the model and the medium are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from multigen.errors import MultigenError
from multigen.generation.part_like import check_part, operator_part
from multigen.generation.span_text import check_amounts, parse_spans

if TYPE_CHECKING:
    from multigen.generation.request import EditRequest


def check_values(edit: EditRequest) -> None:
    """MultigenError for the first of them."""
    if edit.strength is not None and not 0 < edit.strength <= 1:
        raise MultigenError(f"strength: {edit.strength} is not allowed; give a number over 0, to 1")
    if edit.restore is not None:
        check_part(operator_part(edit.restore), "operator", "restore")
    if isinstance(edit.keep, str) and not edit.keep[:1].isalpha():  # words are the modality's
        parse_spans(edit.keep)
    if isinstance(edit.extend, str | int):
        check_amounts(str(edit.extend))
    if edit.feather is not None and not (edit.feather >= 0 and math.isfinite(edit.feather)):
        raise MultigenError(f"feather: {edit.feather} is not allowed; give seconds of sound, or pixels")
    if edit.resample < 1:
        raise MultigenError(f"resample: {edit.resample} is not allowed; give 1 or more")
    if edit.purify is not None and not 0.001 <= edit.purify <= 100:
        raise MultigenError(
            f"purify: {edit.purify} is not allowed; give a noise level (sigma/alpha) from 0.001 to 100, such as 0.3"
        )
    if not (edit.noise >= 0 and math.isfinite(edit.noise)):
        raise MultigenError(f"noise: {edit.noise} is not allowed; give a number, 0 or more")
