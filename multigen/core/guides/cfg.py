"""Classifier-free guidance, and guidance by several prompts.

    cfg      D_u + w (D_c - D_u)
    compose  D_u + w (D_c - D_u) + sum_i w_i (D_i - D_u)

with D_c and D_u the conditional and the unconditional prediction of x0, and D_i that of a further prompt.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from multigen.core.conditioning import Cond
from multigen.core.guides.calls import Answers, Call, Guide, Query


def plain(cond: Cond, null: Cond) -> Guide:
    """No guidance: the conditional prediction."""

    def guide(q: Query) -> Answers:
        (x0,) = yield [Call(q.x, q.t, cond)]
        return x0

    return guide


def cfg(cond: Cond, null: Cond, *, scale: float = 3.0, first: float | None = None) -> Guide:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598, eq. 6, with scale = w + 1).

    The two predictions merge into one network call. `null` is the condition of the empty or the negative prompt.

    scale  of guidance; 1 is off
    first  that of the first frame, from which it rises evenly to `scale` at the last (Blattmann et al. 2023,
           arXiv:2311.15127, appendix D.3); null: each frame has the same
    """
    if scale == 1 and first in (None, 1):
        return plain(cond, null)

    def guide(q: Query) -> Answers:
        x0_cond, x0_uncond = yield [Call(q.x, q.t, cond), Call(q.x, q.t, null)]
        if first is None:
            return torch.lerp(x0_uncond, x0_cond, scale)
        frames = q.x.shape[2]
        each = torch.linspace(first, scale, frames, device=q.x.device, dtype=q.x.dtype)
        return torch.lerp(x0_uncond, x0_cond, each.view(frames, *[1] * (q.x.ndim - 3)))

    return guide


def compose(
    cond: Cond,
    null: Cond,
    encode: Callable[[str], Cond],
    *,
    scale: float = 3.0,
    prompts: tuple[str, ...] = (),
    weights: tuple[float, ...] = (),
) -> Guide:
    """Composed guidance by several prompts (Liu et al. 2022, arXiv:2206.01714, eq. 11), in one network call.

    cond     condition of the request's own prompt, weighted by `scale`
    encode   turns a prompt into a condition
    prompts  further prompts
    weights  one for each of them; a negative weight leads away from its prompt

    Raises ValueError unless there are as many weights as prompts.
    """
    if len(prompts) != len(weights):
        raise ValueError(
            f"guide compose: {len(prompts)} prompts and {len(weights)} weights; give as many of each"
        )
    conds = [encode(prompt) for prompt in prompts]

    def guide(q: Query) -> Answers:
        x0_cond, x0_uncond, *others = yield [Call(q.x, q.t, c) for c in (cond, null, *conds)]
        x0 = torch.lerp(x0_uncond, x0_cond, scale)
        for weight, other in zip(weights, others, strict=True):
            x0 = x0 + weight * (other - x0_uncond)
        return x0

    return guide
