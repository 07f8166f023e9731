"""What of a piece an edit keeps, in a musician's words: "soprano", "bars 1-2, bass", "all but bars 3-4"."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.errors import MultigenError, message
from multigen.modalities.roll import PITCHES, Piece

_BARS = re.compile(r"bars? (\d{1,6})(?: ?(?:-|to) ?(\d{1,6}))?")
_ALL_BUT = "all but "


def named(words: str, piece: Piece, names: Sequence[str]) -> Tensor | None:
    """What words name in a piece, bool [T, P + 1, 128]; None where they begin as spans of time do.

    Bars count from 1, a pick-up is bar 0. What is named by several words, parted by commas, is kept where any of them
    names it. The conductor's row is kept everywhere. MultigenError for what is not there, or names everything.
    """
    text = " ".join(words.lower().split())
    if not text or text[0] in "0123456789.:":
        return None
    inverse = text.startswith(_ALL_BUT)
    keep = torch.zeros(piece.length, len(names), dtype=torch.bool)
    lower = [name.lower() for name in names]
    for one in (word.strip() for word in text.removeprefix(_ALL_BUT).split(",")):
        bars = _BARS.fullmatch(one)
        if bars is not None:
            start, end = _span(words, piece, int(bars[1]), int(bars[2] or bars[1]))
            keep[start:end] = True
        elif one in lower:
            keep[:, lower.index(one)] = True
        else:
            hint = "Or spans of quarters: 0:8, or bars: bars 1-2; all but ... for the rest."
            raise MultigenError(message(f"keep {words}", one, names, hint))
    keep = ~keep if inverse else keep
    if not bool(keep.any()):
        raise MultigenError(f"keep {words}: it keeps nothing; leave keep out, and take strength 1")
    if bool(keep.all()):
        raise MultigenError(f"keep {words}: it keeps everything, so there is nothing to make")
    keep = torch.cat([keep, torch.ones(piece.length, 1, dtype=torch.bool)], 1)
    return keep[:, :, None].expand(-1, -1, PITCHES)


def _span(words: str, piece: Piece, first: int, last: int) -> tuple[int, int]:
    measures = piece.measures()
    pickup = measures[0][0] not in piece.bars
    lowest, highest = 0 if pickup else 1, len(measures) - pickup
    if not lowest <= first <= last <= highest:
        raise MultigenError(f"keep {words}: the piece has bars {lowest} to {highest}")
    return measures[first - lowest][0], measures[last - lowest][1]
