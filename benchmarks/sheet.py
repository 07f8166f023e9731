"""A hundred prompts that training never saw, each with what a model makes of it, as one small picture.

`python -m benchmarks.sheet NAME [--out FILE.webp]` draws pictures in a grid with the prompts below; clips move (WebP).
NAME is what `multigen sample` takes. The prompts are the captions that the dataset holds out, of each kind as many,
then the same in other words; the seeds count on from `--seed`. Nothing is chosen.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import multigen
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.evaluation.metrics import Target
from multigen.modalities.raster import to_channels, to_levels
from multigen.model.build import build_dataset
from multigen.recipe.load import override_recipe
from multigen.storage.files import atomic

COUNT, COLUMNS = 100, 10
BYTES = 300_000  # of the file, at most
TEXT, LINES, GAP = 10, 2, 6  # px: height of the letters, lines below each, between two
SIDE = 96  # px of a picture; of a clip half as much again as its own


def unseen(dataset: Dataset, n: int, seed: int = 0) -> list[Target]:
    """n captions that training never saw: those of the held-out items, kind by kind, then in other words."""
    kinds = [list(some) for some in dataset.held_kinds().values()] or [list(dataset.split()[1])]
    share = -(-n // len(kinds))
    chosen = [some[k * len(some) // share] for some in kinds for k in range(min(share, len(some)))]
    every = [i for some in kinds for i in some]
    drawn = (
        dataset.draw(every[k % len(every)], stream(seed, "sheet", k)) for k in range(20 * n)
    )  # in other words
    found: dict[str, Target] = {}
    for item in chain((dataset[i] for i in chosen), drawn):
        text = item.get("text", "")
        found.setdefault(text, Target(text, item["id"], item.get("label")))
        if len(found) == n:
            break
    return list(found.values())


def sheet(media: Sequence[Tensor], prompts: Sequence[str], side: int) -> list[Image.Image]:
    """The frames of the sheet: one for pictures [C, H, W], as many as the longest clip [C, T, H, W] has."""
    font, length = ImageFont.load_default(TEXT), max(m.shape[1] if m.ndim == 4 else 1 for m in media)
    high, rows = side + LINES * (TEXT + 2) + GAP, -(-len(media) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * (side + GAP) - GAP, rows * high), "white")
    pen = ImageDraw.Draw(page)
    for k, prompt in enumerate(prompts):
        x, y = k % COLUMNS * (side + GAP), k // COLUMNS * high + side
        for number, line in enumerate(wrapped(prompt, font, side)):
            pen.text((x, y + number * (TEXT + 2)), line, fill=(60, 60, 60), font=font)
    frames = []
    for moment in range(length):
        frame = page.copy()
        for k, medium in enumerate(media):
            still = medium if medium.ndim == 3 else medium[:, min(moment, medium.shape[1] - 1)]
            tile = Image.fromarray(np.ascontiguousarray(to_levels(to_channels(still, 3), "sheet")))
            frame.paste(
                tile.resize((side, side), Image.Resampling.BICUBIC),
                (k % COLUMNS * (side + GAP), k // COLUMNS * high),
            )
        frames.append(frame)
    return frames


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    """A text in LINES lines of `width` pixels at most, cut where it is longer."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        elif len(lines) < LINES:
            lines.append(word)
        else:
            lines[-1] += " …"
            break
    return lines


def encoded(frames: Sequence[Image.Image], fps: float) -> bytes:
    """WebP of at most BYTES, as good as that allows; an animation where there are several frames."""
    content = b""
    for quality in (90, 80, 70, 60, 50, 40, 30, 20):
        file = io.BytesIO()
        more = {"save_all": True, "append_images": frames[1:], "duration": round(1000 / fps), "loop": 0}
        frames[0].save(file, "WEBP", quality=quality, method=6, **(more if len(frames) > 1 else {}))
        content = file.getvalue()
        if len(content) <= BYTES:
            break
    return content


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="a shipped model, a weights file or a run folder")
    parser.add_argument("override", nargs="*", help="key=value, such as data.path=FOLDER or sample.steps=30")
    parser.add_argument("--n", type=int, default=COUNT, help="how many prompts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="default: docs/sheets/NAME.webp")
    given = parser.parse_args()
    model = multigen.load(given.name)
    model.recipe = override_recipe(model.recipe, given.override)
    prompts = [target.prompt for target in unseen(build_dataset(model.recipe), given.n, given.seed)]
    media = [m.tensor for m in model.stream(prompts, n=1, seed=given.seed)]
    moving = media[0].ndim == 4
    frames = sheet(media, prompts, SIDE if not moving else media[0].shape[-1] * 3 // 2)
    out = given.out or Path(__file__).parents[1] / "docs" / "sheets" / f"{model.recipe.name}.webp"
    out.parent.mkdir(parents=True, exist_ok=True)
    content = encoded(frames, model.recipe.modality.args.get("fps", 8.0))
    with atomic(out) as temporary:
        temporary.write_bytes(content)
    print(f"{out}: {len(prompts)} prompts, {len(content):,} bytes")


if __name__ == "__main__":
    main()
