"""Values of an edit that are wrong whatever the model and the medium are."""

from __future__ import annotations

import math

from multigen.errors import MultigenError
from multigen.generation.part_like import PartLike, check_part, operator_part
from multigen.generation.span_text import check_amounts, parse_spans


def check_values(
    *,
    strength: float | None,
    keep: object,
    extend: object,
    feather: float | None,
    resample: int,
    restore: PartLike | None,
    noise: float,
    purify: float | None,
) -> None:
    """MultigenError for the first of them; `EditRequest` says what they mean."""
    if strength is not None and not 0 < strength <= 1:
        raise MultigenError(f"strength: {strength} is not allowed; give a number over 0, to 1")
    if restore is not None:
        check_part(operator_part(restore), "operator", "restore")
    if isinstance(keep, str) and not keep[:1].isalpha():  # words are the modality's
        parse_spans(keep)
    if isinstance(extend, str | int):
        check_amounts(str(extend))
    if feather is not None and not (feather >= 0 and math.isfinite(feather)):
        raise MultigenError(f"feather: {feather} is not allowed; give seconds of sound, or pixels")
    if resample < 1:
        raise MultigenError(f"resample: {resample} is not allowed; give 1 or more")
    if purify is not None and not 0.001 <= purify <= 100:
        raise MultigenError(
            f"purify: {purify} is not allowed; give a noise level (sigma/alpha) from 0.001 to 100, such as 0.3"
        )
    if not (noise >= 0 and math.isfinite(noise)):
        raise MultigenError(f"noise: {noise} is not allowed; give a number, 0 or more")
