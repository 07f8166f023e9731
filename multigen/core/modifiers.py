"""Modifiers: guides around a guide. What one needs is taken from the calls that the inner guide makes anyway.

`guide` is the inner one, `cond` the request's condition, `denoiser` its denoiser.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query, plain
from multigen.core.taps import Maps, Tapped, Taps, checked


def fill(guide: Guide, known: Tensor, mask: Tensor) -> Guide:
    """Keep x0 = known where mask is True (bool; both broadcast to x [B, C, *D]).

    Inpaints, outpaints, continues and predicts frames, in any modality.
    """

    def filled(q: Query) -> Answers:
        answer = yield from guide(q)
        return torch.where(mask, known, answer)

    return filled


def interval(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, low: float | None = None, high: float | None = None
) -> Guide:
    """Guidance at log-SNRs from `low` to `high` only, the conditional answer elsewhere, which saves the other calls.

    Kynkäänniemi et al. 2024, arXiv:2404.07724, eq. 6, in log(alpha²/sigma²); null is no bound.
    """
    bare = plain(cond, cond)

    def limited(q: Query) -> Answers:
        snr = float(denoiser.schedule.log_snr(q.t.double().reshape(1)))
        inside = (low is None or snr >= low) and (high is None or snr <= high)
        return (yield from (guide if inside else bare)(q))

    return limited


def rescale(guide: Guide, cond: Cond, denoiser: Denoiser, *, share: float = 0.7) -> Guide:
    """The guided output brought back to the deviation of the conditional one, by `share` (0 is off), in F space.

    Lin et al. 2023, arXiv:2305.08891, eq. 15 and 16: guidance makes contrast grow.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"modifier rescale: share is from 0 to 1, not {share}")

    def rescaled(q: Query) -> Answers:
        x0, with_, _ = yield from _heard(guide, q, cond)
        if with_ is None or with_ is x0 or not share:
            return x0
        out, wanted = (denoiser.output(q.x, q.t, a) for a in (x0, with_))
        factor = _deviation(wanted) / _deviation(out).clamp_min(1e-12)
        return denoiser.from_output(q.x, q.t, out * (1 + share * (factor - 1)))

    return rescaled


def threshold(guide: Guide, *, quantile: float = 0.995, limit: float = 1.0) -> Guide:
    """Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, section 2.3), on x0.

    A sample whose `quantile` of |x0| is beyond `limit`, the range of the model space, is clipped there and shrunk to
    the limit.
    """
    if not 0 < quantile <= 1 or limit <= 0:
        raise ValueError(f"modifier threshold: quantile is in (0, 1], limit above 0, not {quantile}, {limit}")

    def limited(q: Query) -> Answers:
        x0 = yield from guide(q)
        # Sorted, for torch.quantile takes no more than 16 million numbers.
        sizes = x0.abs().flatten(1).sort(1).values
        bound = sizes[:, round(quantile * (sizes.shape[1] - 1))].clamp_min(limit)
        bound = bound.view(-1, *[1] * (x0.ndim - 1))
        return torch.where(bound > limit, x0.clamp(-bound, bound) * (limit / bound), x0)

    return limited


def perturbed_attention(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, scale: float = 1.0, layers: tuple[int, ...] | None = None
) -> Guide:
    """Away from the answer whose self-attention sees nothing but its own place.

    Ahn et al. 2024, arXiv:2403.17377, eq. 16: adds scale (with - perturbed), in any space. `layers`: attention blocks
    by their number from the input on; null: the deepest.
    """
    return _away(guide, cond, scale, Taps(undone=_layers(denoiser, layers)), denoiser)


def skip_layers(
    guide: Guide, cond: Cond, denoiser: Denoiser, *, scale: float = 1.0, layers: tuple[int, ...] | None = None
) -> Guide:
    """Away from the answer without some of its attention blocks (Hyung et al. 2024, arXiv:2411.18664, eq. 8).

    Adds scale (with - weakened), in any space. `layers` as in perturbed_attention.
    """
    return _away(guide, cond, scale, Taps(skipped=_layers(denoiser, layers)), denoiser)


def posterior(
    guide: Guide,
    denoiser: Denoiser,
    measure: Callable[[Tensor], Tensor],
    known: Tensor,
    *,
    gain: float = 1.0,
    noise: float | Tensor = 0.02,
    spread: float = 0.5,
) -> Guide:
    """Posterior sampling: samples of which `measure(x0)`, linear in x0, is `known` [B or 1, ...].

    x0 moves along the gradient of the measurement's likelihood through the network (DPS: Chung et al. 2023,
    arXiv:2209.14687, eq. 10), whose variance is that of the guess, gain r² + noise², as in pseudoinverse-guided
    diffusion (Song et al. 2023, "Pseudoinverse-guided diffusion models for inverse problems", eq. 7):
    r² = spread² sigma²/(alpha² spread² + sigma²) for data of deviation `spread` in model space. `gain`: A A^T is about
    this times the identity; `noise`: the measurement's own deviation, one for all of it or each value's [B or 1, ...].
    Each call costs a backward pass.
    """

    def guided(q: Query) -> Answers:
        alpha, sigma = (float(level) for level in denoiser.schedule(q.t.double().reshape(1)))
        if alpha == 0 or sigma == 0:
            return (yield from guide(q))
        x = q.x.detach().requires_grad_(True)
        x0 = yield from _differentiable(guide, Query(x, q.t))
        variance = gain * spread**2 * sigma**2 / (alpha**2 * spread**2 + sigma**2) + noise**2
        with torch.enable_grad():
            error = ((measure(x0) - known).square() / variance).sum() / 2
            (slope,) = torch.autograd.grad(error, x, retain_graph=True)
        return x0.detach() - sigma**2 / alpha * slope

    return guided


def _differentiable(guide: Guide, q: Query) -> Answers:
    """The guide's x0 with its graph; its calls keep theirs."""
    with torch.enable_grad():
        inner = guide(q)
        try:
            calls = next(inner)
        except StopIteration as stop:
            return stop.value
    try:
        while True:
            answers = yield [call._replace(grad=True) for call in calls]
            with torch.enable_grad():
                try:
                    calls = inner.send(answers)
                except StopIteration as stop:
                    return stop.value
    finally:
        inner.close()


def noted(
    guide: Guide,
    cond: Cond,
    denoiser: Denoiser,
    note: Callable[[Query, Tensor, Tensor | None, Maps | None], None],
) -> Guide:
    """Tells `note` of every query: the guided x0, the conditional answer, and attention to the tokens if there is any.

    It changes nothing but that the conditional call merges with no other.
    """
    shows = (
        isinstance(denoiser.backbone, Tapped) and denoiser.backbone.attentions > 0 and cond.tokens is not None
    )

    def told(q: Query) -> Answers:
        maps = Maps() if shows else None
        x0, with_, _ = yield from _heard(guide, q, cond, tapped=None if maps is None else Taps(maps=maps))
        note(q, x0, with_, maps)
        return x0

    return told


def _away(guide: Guide, cond: Cond, scale: float, taps: Taps, denoiser: Denoiser) -> Guide:
    checked(denoiser.backbone, taps)
    if scale == 0:
        return guide

    def pushed(q: Query) -> Answers:
        x0, with_, (weak,) = yield from _heard(guide, q, cond, [Call(q.x, q.t, cond, taps=taps)])
        if with_ is None:
            (with_,) = yield [Call(q.x, q.t, cond)]
        return x0 + scale * (with_ - weak)

    return pushed


def _layers(denoiser: Denoiser, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    if layers is not None:
        return layers
    return (denoiser.backbone.deepest if isinstance(denoiser.backbone, Tapped) else 0,)


def _heard(
    guide: Guide, q: Query, cond: Cond, more: Sequence[Call] = (), tapped: Taps | None = None
) -> Generator[list[Call], list[Tensor], tuple[Tensor, Tensor | None, list[Tensor]]]:
    """The guide's x0, the conditional answer where it asked for it, and the answers to `more`, asked beside.

    `tapped`: what is asked of the inside of the backbone with the conditional call.
    """
    inner, with_ = guide(q), None
    extra: list[Tensor] | None = None
    try:
        calls = next(inner)
        while True:
            mine = list(more) if extra is None else []
            asked = [c._replace(taps=tapped) if tapped and _bare(c, q, cond) else c for c in calls]
            answers = yield [*asked, *mine]
            extra = answers[len(calls) :] if extra is None else extra
            answers = answers[: len(calls)]
            for call, answer in zip(calls, answers, strict=True):
                if _bare(call, q, cond):
                    with_ = answer
            calls = inner.send(answers)
    except StopIteration as stop:
        if extra is None and more:
            extra = yield list(more)
        return stop.value, with_, extra or []
    finally:
        inner.close()


def _bare(call: Call, q: Query, cond: Cond) -> bool:
    """Whether this is the conditional call."""
    return call.cond is cond and call.x is q.x and call.denoiser is None and call.taps is None


def _deviation(x: Tensor) -> Tensor:
    """Standard deviation of each sample: [B, 1, ...]."""
    return x.flatten(1).std(1).view(-1, *[1] * (x.ndim - 1))
