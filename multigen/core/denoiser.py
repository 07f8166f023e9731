"""Denoiser = backbone + schedule + prediction: `(x_t, t, cond) -> x0`, and the training loss."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from multigen.core.conditioning import Cond
from multigen.core.predictions import Prediction
from multigen.core.schedules import Schedule
from multigen.core.taps import Taps, checked
from multigen.core.upload import upload

LOG_SNR_LIMIT = 20.0
# Times whose coefficients a denoiser remembers.
REMEMBERED = 4096
# Where c_in is 1 but for rounding, x goes in as it is.
UNSCALED = 1e-12
TINY = 1e-12  # keeps the slope of a square root finite
_LEAST_OUT = 0.05  # c_out that `huber` reckons with at least


class Backbone(Protocol):
    """The network F. Knows nothing of schedules, samplers or prompts; an `nn.Module`.

    It must not write into x, which may be the sampler's own. Its c_noise is the log-SNR within ±20; or, where its
    class says `by_index = True`, the index in the schedule's table, as networks trained elsewhere have it.
    """

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """[B, C, *D], [B], conditions -> [B, C', *D]."""
        ...


def rows(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...] of as many axes as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


class Denoiser(nn.Module):
    """Wraps a backbone so that samplers and objectives see x0 and [B] losses.

    `precision` is the autocast dtype of the network; x stays fp32 outside it. None: no autocast of its own.
    Coefficients are computed in float64; t is best on the CPU, where no device waits for them.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.schedule, self.prediction = backbone, schedule, prediction
        self.precision = precision
        self.by_index = bool(getattr(backbone, "by_index", False))
        self._known: dict[float, list[float]] = {}

    def network(self, x: Tensor, c_noise: Tensor, cond: Cond, taps: Taps | None = None) -> Tensor:
        """F(x, c_noise, cond) in the dtype of x; x [B, C, *D] already scaled by c_in, c_noise [B]."""
        more = {}
        if taps is not None:
            checked(self.backbone, taps)
            more = {"taps": taps}
        if self.precision is None:
            return self.backbone(x, c_noise, cond, **more)
        with torch.autocast(x.device.type, dtype=self.precision):
            return self.backbone(x, c_noise, cond, **more).to(x.dtype)

    def forward(self, x: Tensor, t: Tensor, cond: Cond, taps: Taps | None = None) -> Tensor:
        """x_t [B, C, *D], t [B] -> x0 [B, C, *D]. ValueError for prediction eps where alpha = 0."""
        scales = self._scales(t)
        c_noise, c_in, c_skip, c_out = upload(torch.tensor(scales, dtype=x.dtype), x.device).unbind()
        grown = any(abs(c - 1) > UNSCALED for c in scales[1])
        answer = self.network(rows(c_in, x) * x if grown else x, c_noise, cond, taps)
        return (rows(c_skip, x) * x).addcmul_(rows(c_out, x), answer)

    def output(self, x: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """F that says x0 [B, C, *D] of x_t at t (0-d): (x0 - c_skip x)/c_out, the inverse of `forward`."""
        _, _, skip, out = (values[0] for values in self._scales(t.reshape(1)))
        return (x0 - skip * x) / out

    def from_output(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """x0 of x_t at t (0-d) and F [B, C, *D]."""
        _, _, skip, out = (values[0] for values in self._scales(t.reshape(1)))
        return skip * x + out * output

    def remember(self, ts: Tensor) -> None:
        """Compute the coefficients of a grid [n+1] at once; those of a time not remembered cost more than a step.

        ValueError for prediction eps where alpha = 0.
        """
        if len(self._known) > REMEMBERED:
            self._known = {}
        snr = self.schedule.log_snr(ts.double())
        scales = self.prediction.coefficients(*self.schedule.levels(snr))
        table = torch.stack([self._c_noise(ts.double(), snr), *scales], dim=1)
        self._known.update(zip(ts.tolist(), table.tolist(), strict=True))

    def _scales(self, t: Tensor) -> list[tuple[float, ...]]:
        """c_noise, c_in, c_skip and c_out at t [B], each [B]."""
        times = t.tolist()
        if not self._known.keys() >= set(times):
            self.remember(torch.tensor(times, dtype=torch.float64))
        return list(zip(*[self._known[value] for value in times], strict=True))

    def loss(self, x0: Tensor, t: Tensor, cond: Cond, eps: Tensor, *, huber: float | None = None) -> Tensor:
        """Mean square error in F space, per sample: x0 and eps [B, C, *D], t [B] -> [B].

        `huber` h: the error e of x0 counts 2 h (sqrt(e² + d²) - d) in place of e² (pseudo-Huber: Song and Dhariwal
        2023, arXiv:2310.14189, section 3.3), with d = h (sigma² / (alpha² + sigma²))⁴. In strong noise that is e²
        for what is small beside h, and x0 stays the mean that samplers need; where sigma is below alpha it is nearly
        2 h |e|, so that a network is rather right on flat areas and wrong on edges than a little wrong everywhere.
        c_out below 0.05 is taken for 0.05 there, else errors of F that x0 hardly shows (flow, v) would weigh without
        bound.
        ValueError for prediction eps where alpha = 0.
        """
        scales = upload(self.loss_scales(t, huber), x0.device, x0.dtype)
        return self.loss_at(x0, cond, eps, scales, huber)

    def loss_scales(self, t: Tensor, huber: float | None = None) -> Tensor:
        """What `loss_at` takes at t [B]: c_noise, c_in, alpha, sigma, c_out and d, [6, B] float64 where t is."""
        snr = self.schedule.log_snr(t.double())
        alpha, sigma = self.schedule.levels(snr)
        c_in, _, c_out = self.prediction.coefficients(alpha, sigma)
        width = torch.zeros_like(alpha) if huber is None else huber * (sigma**2 / (alpha**2 + sigma**2)) ** 4
        return torch.stack([self._c_noise(t.double(), snr), c_in, alpha, sigma, c_out, width])

    def loss_at(
        self, x0: Tensor, cond: Cond, eps: Tensor, scales: Tensor, huber: float | None = None
    ) -> Tensor:
        """`loss` from the numbers of `loss_scales` in the dtype of x0, on its device: all that is worth compiling."""
        c_noise, *others = scales.unbind()
        scale, a, s, out, d = (rows(c, x0) for c in others)
        answer = self.network(scale * (a * x0 + s * eps), c_noise, cond)
        error = answer - self.prediction.target(x0, eps, a, s)  # of F: that of x0 is c_out times as large
        loss = error.square()
        if huber is not None:
            out = out.abs().clamp_min(_LEAST_OUT)
            loss = loss * (2 * huber / (((out * error).square() + d.square() + TINY).sqrt() + d))
        return loss.flatten(1).mean(1)

    def _c_noise(self, t: Tensor, snr: Tensor) -> Tensor:
        """What the backbone is told of the noise level, [B] float64."""
        return self.schedule.index(t) if self.by_index else snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
