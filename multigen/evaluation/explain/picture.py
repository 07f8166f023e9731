"""Pictures of an explanation: heat over the medium by word, and what other prompts decide, by noise level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from multigen.evaluation.explain.swap import Swapped
from multigen.evaluation.explain.words import Told
from multigen.generation.heat import Row, heat_picture
from multigen.generation.noise_levels import Interval
from multigen.generation.trace import attention_picture
from multigen.modalities import Modality

LEFT_OUT, ATTENTION, DECIDES, SWAPS = "left-out.png", "attention.png", "decides.png", "swaps"
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BASE = 760, 380, 64, 24, 40, 74
# Told apart by people who see few colours, too (Okabe & Ito 2008).
_COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
_GREY, _INK = (222, 222, 222), (20, 20, 20)


def draw_words(told: Told, folder: Path) -> list[Path]:
    """Write the pictures of what is left out, and of attention where there is any; their paths."""
    columns = ["all noise", *(f"noise {level}" for level in told.levels)]
    rows = [
        Row(f"without “{word}”", told.where[:, k], [f"moves {one:.1%}" for one in told.change[k]])
        for k, word in enumerate(told.words)
    ]
    pictures = {LEFT_OUT: heat_picture(told.medium, rows, columns)}
    if told.attention is not None:
        pictures[ATTENTION] = attention_picture(told.medium, told.attention, told.tokens, told.levels)
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]


def draw_swaps(
    found: Sequence[Swapped], levels: Sequence[Interval], modality: Modality, folder: Path
) -> list[Path]:
    """Write the curves, and for each other prompt a picture of the first seed's media; their paths."""
    paths = [folder / DECIDES]
    decides_picture(found, levels).save(paths[0])
    for k, one in enumerate(found):
        paths.append(folder / f"{SWAPS}-{k}.png")
        modality.preview(one.media).save(paths[-1])
    return paths


def decides_picture(found: Sequence[Swapped], levels: Sequence[Interval]) -> Any:
    """How far each other prompt moves the medium, by the interval in which it takes over, with standard errors.

    A prompt that moves nothing has no curve.
    """
    points = [
        [(k, m, e) for k, (m, e) in enumerate(zip(one.moved, one.error, strict=True)) if not math.isnan(m)]
        for one in found
    ]
    values = [m + sign * e for curve in points for _, m, e in curve for sign in (-1, 1)]
    low, high = min([-0.1, *values]), max([1.1, *values])
    out = Image.new("RGB", (_WIDTH, _HEIGHT + 20 * len(found)), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(13)

    def up(value: float) -> float:
        return _HEIGHT - _BASE - (value - low) / (high - low) * (_HEIGHT - _BASE - _TOP)

    def across(k: float) -> float:
        return _LEFT + (k + 0.5) * (_WIDTH - _LEFT - _RIGHT) / len(levels)

    for value, said in ((0, "prompt"), (0.5, "half"), (1, "other")):
        draw.line((_LEFT, up(value), _WIDTH - _RIGHT, up(value)), fill=_GREY)
        draw.text((_LEFT - 8, up(value)), said, fill=_INK, font=font, anchor="rm")
    draw.text((_LEFT, 8), "what comes out is like the media of which prompt", fill=_INK, font=font)
    for k, level in enumerate(levels):
        draw.text((across(k), _HEIGHT - _BASE + 10), str(level), fill=_INK, font=font, anchor="ma")
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    said = "the other prompt takes over while there is so much more noise than signal (sigma/alpha)"
    draw.text((middle, _HEIGHT - _BASE + 32), said, fill=_INK, font=font, anchor="ma")
    for number, (one, curve) in enumerate(zip(found, points, strict=True)):
        colour = _COLOURS[number % len(_COLOURS)]
        aside = 6 * (number - (len(found) - 1) / 2)
        draw.line([(across(k) + aside, up(value)) for k, value, _ in curve], fill=colour, width=2)
        for k, value, error in curve:
            x, y = across(k) + aside, up(value)
            draw.line((x, up(value - error), x, up(value + error)), fill=colour, width=2)
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        y = _HEIGHT - 10 + 20 * number
        draw.line((_LEFT, y + 8, _LEFT + 24, y + 8), fill=colour, width=3)
        draw.text((_LEFT + 32, y), one.other[:90], fill=_INK, font=font)
    return out
