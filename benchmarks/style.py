"""Ten pictures of a style that the emoji model never saw, a LoRA tuned to them, and how far the style has moved.

`python -m benchmarks.style FOLDER` draws ten foods in brown ink on cream paper from the packaged emoji (or takes the
pictures of `--pictures`, with their captions), runs `multigen train lora_emoji` and `multigen evaluate lora_emoji` on
them, and prints the kernel distance of the model's media from the ten, before and after, for prompts that the ten do
not show. Arguments of the form key=value go to the training.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageFilter, ImageOps

from benchmarks.__main__ import table
from multigen.datasets import sprites
from multigen.recipe.load import load_recipe
from multigen.runs import train as pipeline
from multigen.runs.evaluate import evaluate

THINGS = (
    "grapes",
    "pear",
    "tomato",
    "french fries",
    "croissant",
    "cupcake",
    "hot beverage",
    "ice cream",
    "hot dog",
    "pineapple",
)
PAPER, INK = (247, 234, 205), (84, 46, 24)
SIDE = 144  # px


def ink(sprite: Image.Image) -> Image.Image:
    """A sprite as a drawing: the outlines of its shades, and a wash of them, in brown on cream. [SIDE, SIDE] RGB."""
    page = Image.new("RGBA", (SIDE, SIDE), "white")
    page.alpha_composite(sprite.convert("RGBA").resize((SIDE - 24,) * 2, Image.Resampling.LANCZOS), (12, 12))
    grey = ImageOps.grayscale(page.convert("RGB")).filter(ImageFilter.MedianFilter(5))
    smooth = grey.filter(ImageFilter.GaussianBlur(1.5))
    steps = ImageChops.difference(
        smooth.filter(ImageFilter.MaxFilter(5)), smooth.filter(ImageFilter.MinFilter(5))
    )
    lines = steps.point(lambda v: 255 - min(255, max(0, v - 14) * 8)).filter(ImageFilter.GaussianBlur(0.7))
    wash = grey.point(lambda v: 205 + v // 5 if v < 250 else 255)
    return ImageOps.colorize(ImageChops.multiply(lines, wash), INK, PAPER)


def draw(folder: Path) -> None:
    """Ten drawings with their captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    emoji = sprites.all_emoji()
    for name in THINGS:
        one = sprites.choose(emoji, name, "THINGS")
        ink(Image.open(one.file)).save(folder / f"{name.replace(' ', '_')}.png")
        (folder / f"{name.replace(' ', '_')}.txt").write_text(name, encoding="utf-8")


def measure(folder: Path, pictures: Path | None, more: list[str]) -> list[dict[str, Any]]:
    """One row: the kernel distance before and after tuning, with standard errors."""
    if pictures is None:
        draw(pictures := folder / "pictures")
    recipe = load_recipe("lora_emoji", [f"data.path={pictures}", *more])
    style = evaluate(str(pipeline.train(recipe, out=folder / "run"))).facts["style"]
    row: dict[str, Any] = {"pictures": style["tuning_media"], "media": style["media"]}
    for side in ("before", "after"):
        row[side] = round(style[side]["value"], 3)
        row[f"{side}_error"] = round(style[side]["error"], 3)
    return [row | {"prompts": len(style["prompts"])}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="for the pictures and the run")
    parser.add_argument("--pictures", type=Path, help="a folder of yours, in place of the drawings")
    parser.add_argument("override", nargs="*", help="key=value")
    given = parser.parse_args()
    print(table(measure(given.folder, given.pictures, given.override)))
