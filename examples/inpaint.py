"""Inpaint from Python: keep the upper half of a picture and make the lower half anew.

A mask is a bool tensor, True where the picture stays; `feather` is the width of the cross-fade in pixels.
"""

from __future__ import annotations

import torch

import multigen


def main(n: int = 4, steps: int = 20) -> tuple[multigen.Media, list[multigen.Media]]:
    """The source, and `n` pictures whose upper half is the source's."""
    model = multigen.load("image_emoji")
    (source,) = model.generate("hamburger", seed=3, steps=steps)
    keep = torch.zeros(source.tensor.shape[1:], dtype=torch.bool)
    keep[:32] = True
    made = model.edit(source, "slice of pizza", keep=keep, feather=4, resample=2, n=n, seed=0, steps=steps)
    return source, made


if __name__ == "__main__":
    source, made = main()
    source.save("source.png")
    for number, medium in enumerate(made):
        print(medium.save(f"inpainted{number}.png"))
