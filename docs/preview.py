"""The README's picture, from the run folders of four recipes: `python docs/preview.py runs docs/preview.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

WIDTH, GAP = 1200, 12


def grid(folder: Path, columns: int, side: int, limit: int, suffix: str = ".png") -> Image.Image:
    """The run's first pictures, `side` pixels wide, in rows of `columns`."""
    files = sorted(p for p in (folder / "media").glob(f"*{suffix}"))[:limit]
    rows = -(-len(files) // columns)
    sheet = Image.new("RGB", (columns * (side + 4) - 4, rows * (side + 4) - 4), "white")
    for k, file in enumerate(files):
        with Image.open(file) as picture:
            tile = picture.convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        sheet.paste(tile, (k % columns * (side + 4), k // columns * (side + 4)))
    return sheet


def wide(file: Path, width: int, height: int | None = None) -> Image.Image:
    """A picture at the given width (and height: cut below)."""
    with Image.open(file) as picture:
        size = (width, round(picture.height * width / picture.width))
        out = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return out if height is None else out.crop((0, 0, width, min(height, out.height)))


def main(runs: Path, out: Path) -> None:
    half = (WIDTH - GAP) // 2
    emoji = grid(runs / "image_emoji", 8, half // 8 - 4, 32)
    digits = grid(runs / "image_digits", 10, half // 10 - 4, 40)
    left = [emoji, digits]
    right = [
        wide(runs / "audio_music" / "preview.png", half, 330),
        wide(runs / "video_moving_emoji" / "preview.png", half),
    ]
    height = max(sum(p.height + GAP for p in column) for column in (left, right)) - GAP
    sheet = Image.new("RGB", (WIDTH, height), "white")
    for x, column in ((0, left), (half + GAP, right)):
        y = 0
        for picture in column:
            sheet.paste(picture, (x, y))
            y += picture.height + GAP
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
