"""Train a LoRA on a folder of pictures and sample with it. It needs the extra `lora`.

The pictures here are red ink drawings made from the shipped model's own emoji; use a folder of yours instead.
"""

from __future__ import annotations

import sys
from pathlib import Path

import multigen

THINGS = ("red apple", "strawberry", "hamburger", "doughnut", "watermelon", "slice of pizza")


def draw(folder: Path, steps: int) -> None:
    """Six pictures in one style, each with its caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    model = multigen.load("image_emoji")
    for number, thing in enumerate(THINGS):
        (medium,) = model.generate(thing, seed=number, steps=steps)
        dark = medium.tensor.mean(0) < 0.4
        medium.tensor[0] = 1 - 0.4 * dark
        medium.tensor[1:] = 1 - 1.7 * dark
        medium.save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(thing)


def main(pictures: Path, out: Path, steps: int = 20, train_steps: int = 300) -> multigen.Media:
    """A thing that the pictures do not show, in their style. `out` is the LoRA's run folder."""
    if not pictures.is_dir():
        draw(pictures, steps)
    multigen.train("lora_emoji", f"data.path={pictures}", f"train.steps={train_steps}", out=out)
    model = multigen.load("image_emoji", loras={str(out): 0.9})
    (medium,) = model.generate("purple tomato", seed=0, steps=steps)
    return medium


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "ink_drawings")
    print(main(folder, Path("runs/lora_ink")).save("tomato.png"))
