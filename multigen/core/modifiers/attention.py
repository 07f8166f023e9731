"""Guidance away from a network whose attention is weakened.

    D + w (D_c - D_weak)

with D_weak the conditional prediction when self-attention is the identity (perturbed attention: Ahn et al. 2024,
arXiv:2403.17377, eq. 16), or without some attention blocks (Hyung et al. 2024, arXiv:2411.18664, eq. 8). It is linear,
so it is the same in x0, eps or v.
"""

from __future__ import annotations

from multigen.core.backbone import Taps, check_taps
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query
from multigen.core.modifiers.conditional import with_conditional


def perturbed_attention(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, scale: float = 1.0, layers: tuple[int, ...] | None = None
) -> Guide:
    """Perturbed-attention guidance (Ahn et al. 2024, arXiv:2403.17377, eq. 16).

    scale   weight w; 0 is off
    layers  attention blocks, numbered from the input; None: the deepest

    Raises ValueError for layers that the backbone does not have.
    """
    return _away(guide, cond, scale, Taps(undone=_layers(denoiser, layers)), denoiser)


def skip_layers(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, scale: float = 1.0, layers: tuple[int, ...] | None = None
) -> Guide:
    """Skip-layer guidance (Hyung et al. 2024, arXiv:2411.18664, eq. 8). Arguments as for `perturbed_attention`."""
    return _away(guide, cond, scale, Taps(skipped=_layers(denoiser, layers)), denoiser)


def _away(guide: Guide, cond: Cond, scale: float, taps: Taps, denoiser: Denoiser) -> Guide:
    check_taps(denoiser.backbone, taps)
    if scale == 0:
        return guide

    def pushed(q: Query) -> Answers:
        x0, x0_cond, (weak,) = yield from with_conditional(guide, q, cond, [Call(q.x, q.t, cond, taps=taps)])
        if x0_cond is None:
            (x0_cond,) = yield [Call(q.x, q.t, cond)]
        return x0 + scale * (x0_cond - weak)

    return pushed


def _layers(denoiser: Denoiser, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    return (denoiser.backbone.deepest,) if layers is None else layers
