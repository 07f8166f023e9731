"""A guide of your own: guidance that grows as the noise falls.

Early steps, which decide the composition, follow the data; late steps follow the prompt (a monotone schedule of the
scale, as studied by Wang et al. 2024, arXiv:2404.13040).
"""

from __future__ import annotations

import torch

import multigen
from multigen.core import Call, Cond, Denoiser, Guide, Query
from multigen.core.guides import Answers


@multigen.register("guide", "rising")
def rising(cond: Cond, null: Cond, denoiser: Denoiser, *, scale: float = 4.0) -> Guide:
    """Classifier-free guidance whose scale goes from 1 in pure noise to `scale` at the data."""

    def guide(q: Query) -> Answers:
        conditional, unconditional = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        alpha, sigma = denoiser.schedule(q.t.reshape(1))
        share = float(alpha / (alpha + sigma))
        return torch.lerp(unconditional, conditional, 1 + (scale - 1) * share)

    return guide


def main(n: int = 4, steps: int = 20) -> list[multigen.Media]:
    """Emoji under the guide, by its name in a recipe."""
    model = multigen.load("image_emoji")
    override = ("guide={name: rising, scale: 4}",)
    request = multigen.Request("red apple", seed=0, steps=steps, overrides=override)
    return [medium for _, medium in sorted(model.batcher([request], n=n))]


if __name__ == "__main__":
    for number, medium in enumerate(main()):
        print(medium.save(f"rising{number}.png"))
