"""Piano rolls as a picture: time to the right, pitch upwards, a colour for each part, lines where bars begin."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from multigen.modalities.roll import Piece

_WIDTH, _GAP = 960, 8  # pixels
_ROW = 4  # pixels of a semitone
_AROUND = 3  # semitones shown above and below the notes
_LEAST = 24  # semitones shown at least
# Told apart by people who see few colours, too (Okabe & Ito 2008), on dark ground.
_COLOURS = ("#56b4e9", "#e69f00", "#2ebd85", "#d873a8", "#f0e442", "#d55e00", "#3d8bfd", "#bbbbbb")
_GROUND, _BLACK_KEY, _BAR, _BEAT = "#1b1d22", "#16181c", "#5a5f6a", "#2a2d34"


def draw_pieces(pieces: Sequence[Piece], steps: int) -> Image.Image:
    """Draw pieces one above the other, on the time scale of the longest. ValueError for none."""
    if not pieces:
        raise ValueError("preview: there is nothing to show")
    pixels = _WIDTH / max(piece.length for piece in pieces)
    drawn = [_draw(piece, steps, pixels) for piece in pieces]
    picture = Image.new("RGB", (_WIDTH, sum(one.height + _GAP for one in drawn) - _GAP), "#000000")
    top = 0
    for one in drawn:
        picture.paste(one, (0, top))
        top += one.height + _GAP
    return picture


def _draw(piece: Piece, steps: int, pixels: float) -> Image.Image:
    """One piece. `pixels`: of a step."""
    pitches = [note.pitch for part in piece.parts for note in part] or [60]
    lowest, highest = max(0, min(pitches) - _AROUND), min(127, max(pitches) + _AROUND)
    more = max(0, _LEAST - (highest - lowest))
    lowest, highest = lowest - more // 2, highest + more - more // 2
    width, height = round(piece.length * pixels), (highest - lowest + 1) * _ROW
    picture = Image.new("RGB", (max(width, 1), height), _GROUND)
    draw = ImageDraw.Draw(picture)
    for pitch in range(lowest, highest + 1):
        if pitch % 12 in (1, 3, 6, 8, 10):
            top = (highest - pitch) * _ROW
            draw.rectangle((0, top, width, top + _ROW - 1), fill=_BLACK_KEY)
    for step in range(0, piece.length, steps):
        draw.line((step * pixels, 0, step * pixels, height), fill=_BEAT)
    for step in piece.bars:
        draw.line((step * pixels, 0, step * pixels, height), fill=_BAR)
    for row, part in enumerate(piece.parts):
        for note in part:
            left, right = round(note.onset * pixels), round(note.end * pixels) - 2
            top = (highest - note.pitch) * _ROW
            draw.rectangle((left, top, max(left, right), top + _ROW - 1), fill=_COLOURS[row % len(_COLOURS)])
    return picture
