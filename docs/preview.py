"""The README's picture, from the folders of four runs: `python docs/preview.py runs docs/preview.png`."""

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
    """Put the four pictures together."""
    half = (WIDTH - GAP) // 2
    digits = grid(runs / "image_digits", 8, half // 8 - 4, 40)
    music = wide(runs / "audio_music" / "preview.png", half, digits.height)
    emoji = grid(runs / "image_emoji", 8, half // 8 - 4, 32)
    video = wide(runs / "video_moving_emoji" / "preview.png", half, emoji.height)
    sheet = Image.new("RGB", (WIDTH, digits.height + GAP + emoji.height), "white")
    sheet.paste(digits, (0, 0))
    sheet.paste(music, (half + GAP, 0))
    sheet.paste(emoji, (0, digits.height + GAP))
    sheet.paste(video, (half + GAP, digits.height + GAP))
    sheet.save(out, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
