"""Negative guidance by concept: safe latent diffusion.

With e_p, e_u, e_S the predictions of the noise for the prompt, without one, and for the concept, and w the scale of the
inner guide,

    e  <- e - w gamma
    gamma = mu (e_S - e_u) + momentum v        0 in the first `warmup` queries
    v  <- beta v + (1 - beta) gamma
    mu = min(1, |scale (e_p - e_S)|)           where e_p - e_S < threshold, else 0

Schramowski et al. 2022 (arXiv:2211.05105), eq. 4 to 8, with mu as their code has it. A noise of e stands for an x0 of
(x - sigma e)/alpha, so all of it is computed from predictions of x0.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query, relayed

_LEAST = 1e-6  # of alpha: in pure noise no two predictions of it differ


def safe(
    guide: Guide,
    cond: Cond,
    null: Cond,
    denoiser: Denoiser,
    encode: Callable[[str], Cond],
    *,
    concept: str,
    scale: float = 1000.0,
    threshold: float = 0.01,
    warmup: int = 10,
    momentum: float = 0.3,
    beta: float = 0.4,
) -> Guide:
    """Lead away from a concept, where the prompt leads to it (Schramowski et al. 2022, arXiv:2211.05105).

    concept    words for it
    scale      how strongly; their settings: 200 weak, 1000 medium, 2000 strong, 5000 maximal
    threshold  how near to the concept the prediction is, in units of the noise, for a place to be led away from it
    warmup     queries before it begins, in which the composition is settled
    momentum   share of what was led away before that is added
    beta       decay of what was

    One more call a query, in the same batch. Raises ValueError for values out of range.
    """
    if not concept.strip() or scale < 0 or warmup < 0 or not 0 <= momentum <= 1 or not 0 <= beta < 1:
        raise ValueError(
            "modifier safe: a concept, scale and warmup from 0, momentum from 0 to 1 and beta from 0 to below 1 are "
            f"allowed, not {concept!r}, {scale}, {warmup}, {momentum}, {beta}"
        )
    away, seen, before = encode(concept), 0, torch.zeros(())

    def guided(q: Query) -> Answers:
        nonlocal seen, before
        x0, (prompt, plain, unsafe) = yield from _with_all(guide, q, (cond, null, away))
        alpha, sigma = denoiser.schedule(q.t.double().reshape(1))
        ratio = float(sigma / alpha.clamp_min(_LEAST))
        apart = (unsafe - prompt) / max(ratio, _LEAST)  # e_p - e_S
        mu = torch.where(apart < threshold, (scale * apart).abs().clamp(max=1), 0)
        gamma = mu * (plain - unsafe) / max(ratio, _LEAST) + momentum * before.to(x0)
        before = beta * before.to(x0) + (1 - beta) * gamma
        seen += 1
        if seen <= warmup:
            return x0
        return x0 + _strength(x0, prompt, plain) * ratio * gamma

    return guided


def _with_all(
    guide: Guide, q: Query, conds: tuple[Cond, Cond, Cond]
) -> Generator[list[Call], list[Tensor], tuple[Tensor, list[Tensor]]]:
    """Run a guide; return its x0 and the predictions for some conditions, of the last of which it knows nothing."""
    known: dict[int, Tensor] = {}
    away = Call(q.x, q.t, conds[2])

    def sent(calls: list[Call]) -> list[Call]:
        return calls if 2 in known else [*calls, away]

    def answered(calls: list[Call], answers: list[Tensor]) -> list[Tensor]:
        if len(answers) > len(calls):
            known[2] = answers[-1]
        for call, answer in zip(calls, answers, strict=False):
            if call.x is q.x and call.denoiser is None and call.taps is None:
                known.update({k: answer for k in (0, 1) if call.cond is conds[k]})
        return answers[: len(calls)]

    x0 = yield from relayed(guide(q), sent, answered)
    for k, cond in enumerate(conds):
        if k not in known:
            (known[k],) = yield [Call(q.x, q.t, cond)]
    return x0, [known[k] for k in range(len(conds))]


def _strength(x0: Tensor, prompt: Tensor, plain: Tensor) -> Tensor:
    """The scale of the inner guide, of each sample: how far it goes from the unconditional prediction, at least 1."""
    way, gone = (prompt - plain).flatten(1), (x0 - plain).flatten(1)
    scale = (way * gone).sum(1) / way.square().sum(1).clamp_min(1e-12)
    return scale.clamp_min(1.0).view(-1, *[1] * (x0.ndim - 1))
