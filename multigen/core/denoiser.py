"""Denoiser: backbone, schedule and prediction together.

    D(x, t, cond) = c_skip x + c_out F(c_in x, c_noise, cond)   (Karras et al. 2022, arXiv:2206.00364, eq. 7)
    c_noise = log(alpha²/sigma²), clamped to ±20                (or the index in the schedule's table, or sigma)

Training minimises the error of F against the prediction's target, for each sample:

    loss = mean (F(c_in x_t, c_noise, cond) - target)²,    x_t = alpha x0 + sigma eps

The optional pseudo-Huber loss replaces the squared error e² of x0 = c_out (F - target)
(Song & Dhariwal 2023, arXiv:2310.14189, section 3.3), with a threshold d that shrinks with the noise level:

    e²  ->  2 h (sqrt(e² + d²) - d),    d = h (sigma²/(alpha² + sigma²))⁴

In strong noise that is e² for errors well below h, and D stays the mean that samplers need. Where sigma is below alpha
it is nearly 2 h |e|: flat areas come out right at the price of larger errors at edges.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from multigen.core.backbone import Backbone, Taps, check_closed, check_deep, check_taps
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond
from multigen.core.copies import KeepsCopies
from multigen.core.deep import Deep
from multigen.core.held import HeldWeights
from multigen.core.predictions import Prediction
from multigen.core.schedules import Schedule
from multigen.core.upload import upload

LOG_SNR_LIMIT = 20.0
REMEMBERED = 4096  # times whose coefficients a denoiser keeps
UNSCALED = 1e-12  # how far c_in may be from 1 for x to go in unscaled
TINY = 1e-12  # keeps the gradient of a square root finite
# The pseudo-Huber loss takes c_out as at least this: near c_out = 0 (flow, v) errors of F hardly change x0, and their
# weight would grow without bound.
_MIN_C_OUT = 0.05


def rows(values: Tensor, like: Tensor) -> Tensor:
    """Reshape [B] to [B, 1, ...], with as many axes as `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))


def _with_variance(x0: Tensor, answer: Tensor, taps: Taps | None) -> Tensor:
    """x0 [B, C, *D], and what follows it in the network's answer where that is asked for."""
    return torch.cat([x0, answer[:, x0.shape[1] :]], 1) if taps is not None and taps.variance else x0


class Denoiser(KeepsCopies, nn.Module):
    """Estimate x0 from x_t with a backbone.

    backbone    the network F
    schedule    alpha and sigma at t
    prediction  what F means
    precision   dtype that the network computes in (autocast; weights held in it where nothing learns); x stays fp32
                outside it. None: fp32

    Coefficients are computed in float64. t is best on the CPU, so that no device has to wait for them.
    """

    def __init__(
        self,
        backbone: Backbone,
        schedule: Schedule,
        prediction: Prediction,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(backbone, Backbone):
            raise TypeError(
                f"backbone: {type(backbone).__name__} is not a subclass of multigen.core.Backbone"
            )
        self.backbone, self.schedule, self.prediction = backbone, schedule, prediction
        self.precision = precision
        self._known: dict[float, list[float]] = {}
        self._held: HeldWeights | None = None

    def network(
        self,
        x: Tensor,
        c_noise: Tensor,
        cond: Cond,
        taps: Taps | None = None,
        deep: Deep | None = None,
        closed: Closed = OPEN,
    ) -> Tensor:
        """Call F with x [B, C, *D], already scaled by c_in, and c_noise [B]. The answer has the dtype of x.

        Raises ValueError for taps, deep features and closed axes that the backbone does not take.
        """
        more: dict[str, Any] = {}
        if taps is not None:
            check_taps(self.backbone, taps)
            more["taps"] = taps
        if deep is not None:
            check_deep(self.backbone, deep)
            more["deep"] = deep
        if closed:
            check_closed(self.backbone, closed)
            more["closed"] = closed
        if self.precision is None:
            return self.backbone(x, c_noise, cond, **more)
        with torch.autocast(x.device.type, dtype=self.precision):
            plain = torch.is_grad_enabled() or not self.keeps_copies
            network = self.backbone if plain else self._held_weights(self.precision)
            return network(x, c_noise, cond, **more).to(x.dtype)

    @property
    def copied_bytes(self) -> int:
        """Bytes of weights held in half precision."""
        return 0 if self._held is None else self._held.nbytes

    def forget_copies(self) -> None:
        """Let them go."""
        self._held = None

    def _held_weights(self, dtype: torch.dtype) -> HeldWeights:
        if self._held is None or self._held.dtype != dtype:
            self._held = HeldWeights(self.backbone, dtype)
        return self._held

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cond: Cond,
        taps: Taps | None = None,
        deep: Deep | None = None,
        closed: Closed = OPEN,
    ) -> Tensor:
        """x_t [B, C, *D], t [B] -> x0 [B, C, *D]. ValueError for prediction eps at alpha = 0.

        With `Taps.variance` the network's v follows, [B, 2 C, *D].
        """
        times = t.tolist()
        self._know(times)
        if times.count(times[0]) == len(times):
            return self._at_one_time(x, times, cond, taps, deep, closed)
        scales = [*zip(*[self._known[value] for value in times], strict=True)]
        c_noise, c_in, c_skip, c_out = upload(torch.tensor(scales, dtype=x.dtype), x.device).unbind()
        scaled = any(abs(c - 1) > UNSCALED for c in scales[1])
        answer = self.network(rows(c_in, x) * x if scaled else x, c_noise, cond, taps, deep, closed)
        x0 = (rows(c_skip, x) * x).addcmul_(rows(c_out, x), answer[:, : x.shape[1]])
        return _with_variance(x0, answer, taps)

    def _at_one_time(
        self, x: Tensor, times: list[float], cond: Cond, taps: Taps | None, deep: Deep | None, closed: Closed
    ) -> Tensor:
        """As `forward`, where all samples are at one time: with numbers in place of tensors of them."""
        level, c_in, c_skip, c_out = self._known[times[0]]
        c_noise = x.new_full((len(times),), level)
        answer = self.network(x * c_in if abs(c_in - 1) > UNSCALED else x, c_noise, cond, taps, deep, closed)
        output = answer[:, : x.shape[1]]
        if c_skip == 0:
            return _with_variance(output if c_out == 1 else output * c_out, answer, taps)
        return _with_variance((x * c_skip).add_(output, alpha=c_out), answer, taps)

    def shared(self, cond: Cond) -> Hashable:
        """Return what the backbone declares that all samples of one call must have in common."""
        return self.backbone.shared(cond)

    def output(self, x: Tensor, t: Tensor, x0: Tensor) -> Tensor:
        """Compute the F that means x0 [B, C, *D] at x_t and t (0-d): (x0 - c_skip x)/c_out."""
        _, _, skip, out = (values[0] for values in self._scales(t.reshape(1)))
        return (x0 - skip * x) / out

    def from_output(self, x: Tensor, t: Tensor, output: Tensor) -> Tensor:
        """Compute x0 from F [B, C, *D] at x_t and t (0-d): c_skip x + c_out F."""
        _, _, skip, out = (values[0] for values in self._scales(t.reshape(1)))
        return skip * x + out * output

    def remember(self, ts: Tensor) -> None:
        """Compute and keep the coefficients of a whole grid [n+1]; one by one they cost more than a sampler step.

        Raises ValueError for prediction eps at alpha = 0.
        """
        if self._known.keys() >= set(ts.tolist()):
            return
        if len(self._known) > REMEMBERED:
            self._known = {}
        snr = self.schedule.log_snr(ts.double())
        scales = self.prediction.coefficients(*self.schedule.levels(snr))
        table = torch.stack([self._c_noise(ts.double(), snr), *scales], dim=1)
        self._known.update(zip(ts.tolist(), table.tolist(), strict=True))

    def c_noise(self, t: Tensor) -> Tensor:
        """Compute the noise level at t [B] as the backbone takes it, [B] float64."""
        return self._c_noise(t.double(), self.schedule.log_snr(t.double()))

    def _scales(self, t: Tensor) -> list[tuple[float, ...]]:
        """c_noise, c_in, c_skip and c_out at t [B], each [B]."""
        times = t.tolist()
        self._know(times)
        return [*zip(*[self._known[value] for value in times], strict=True)]

    def _know(self, times: list[float]) -> None:
        if not all(value in self._known for value in times):
            self.remember(torch.tensor(times, dtype=torch.float64))

    def loss(self, x0: Tensor, t: Tensor, cond: Cond, eps: Tensor, *, huber: float | None = None) -> Tensor:
        """Compute the loss of each sample: x0 and eps [B, C, *D], t [B] -> [B].

        `huber` is h of the pseudo-Huber loss, in units of x0; None: squared errors of F. Raises ValueError for
        prediction eps at alpha = 0.
        """
        scales = upload(self.loss_scales(t, huber), x0.device, x0.dtype)
        return self.loss_at(x0, cond, eps, scales, huber)

    def loss_scales(self, t: Tensor, huber: float | None = None) -> Tensor:
        """Compute what `loss_at` needs at t [B]: c_noise, c_in, alpha, sigma, c_out and d, [6, B] float64."""
        snr = self.schedule.log_snr(t.double())
        alpha, sigma = self.schedule.levels(snr)
        c_in, _, c_out = self.prediction.coefficients(alpha, sigma)
        d = torch.zeros_like(alpha) if huber is None else huber * (sigma**2 / (alpha**2 + sigma**2)) ** 4
        return torch.stack([self._c_noise(t.double(), snr), c_in, alpha, sigma, c_out, d])

    def loss_at(
        self, x0: Tensor, cond: Cond, eps: Tensor, scales: Tensor, huber: float | None = None
    ) -> Tensor:
        """Compute `loss` from `loss_scales` in the dtype and on the device of x0: the part worth compiling."""
        c_noise, *others = scales.unbind()
        c_in, alpha, sigma, c_out, d = (rows(c, x0) for c in others)
        answer = self.network(c_in * (alpha * x0 + sigma * eps), c_noise, cond)
        error = answer - self.prediction.target(
            x0, eps, alpha, sigma
        )  # of F; that of x0 is c_out times as large
        loss = error.square()
        if huber is not None:
            c_out = c_out.abs().clamp_min(_MIN_C_OUT)
            loss = loss * (2 * huber / (((c_out * error).square() + d.square() + TINY).sqrt() + d))
        return loss.flatten(1).mean(1)

    def _c_noise(self, t: Tensor, snr: Tensor) -> Tensor:
        """The noise level as the backbone takes it, [B] float64."""
        match self.backbone.c_noise:
            case "log_snr":
                return snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
            case "index":
                return self.schedule.index(t)
            case "sigma":
                return self.schedule.levels(snr).sigma
