"""Continuous-time consistency distillation: sCM (Lu & Song 2024, arXiv:2410.11081).

A consistency model answers, from any point of the teacher's path, where that path ends: f(x_t, t) does not change along
it. The paper's TrigFlow, for any schedule and prediction, with sd the standard deviation of the data:

    angle = atan(sigma/(alpha sd)),   y = cos(angle) x0 + sin(angle) sd eps = sd x_t/n,   n = sqrt(alpha² sd² + sigma²)
    f = D(x_t, t) = cos(angle) y - sin(angle) sd F
    dy/dangle = (cos(angle) y - D_teacher)/sin(angle)     along the teacher's path

The loss (eq. 8) pulls F towards F- + g, where F- is F without a gradient, with the tangent of eq. 6 and 7, normalised:

    g = cos(angle) (first + r (df/dangle - first)),   first = cos(angle) (dy/dangle - sd F-),   g <- g/(|g| + c)

r rises from 0 to 1 over the first steps. As an x0: x0' = f- - sin(angle) sd g.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from multigen.core.conditioning import Cond
from multigen.core.denoiser import LOG_SNR_LIMIT, Denoiser, rows
from multigen.core.upload import upload
from multigen.registry import Given
from multigen.training.distillation import Distillation, Lesson, Teacher, answers

_NEAR = 1e-3  # how far the angle stays from 0 and from pi/2
_FINE = 1e-5  # step of the coefficients' differences, in float64


class _Coefficients(NamedTuple):
    """What makes D of y at an angle, each [B]: D = skip y + out F(scale y, c_noise)."""

    skip: Tensor
    out: Tensor
    scale: Tensor
    c_noise: Tensor


class Consistency(Distillation):
    """The student answers where the teacher's path ends: sCM (Lu & Song 2024, arXiv:2410.11081, algorithm 1).

    It is sampled with sampler consistency, in one step or several.

    warmup      steps over which the part of the tangent that the student's own change makes rises from 0 (r)
    normal      c of the tangent's normalisation
    step        of the finite difference, in angle; smaller ones lose digits
    derivative  `forward`: forward-mode differentiation, exact; `difference`: two more calls, for networks with
                operations that have no forward mode
    """

    def __init__(
        self,
        *,
        teacher: Given[Teacher],
        student: Given[Denoiser],
        warmup: int = 1000,
        normal: float = 0.1,
        step: float = 5e-3,
        derivative: Literal["forward", "difference"] = "forward",
    ) -> None:
        if warmup < 0 or not normal > 0 or not 0 < step <= 0.1:
            raise ValueError("warmup is 0 or more, normal above 0, and step above 0 and at most 0.1.")
        self.teacher, self.student = teacher, student
        self.warmup, self.normal, self.step, self.derivative = warmup, normal, step, derivative
        self.sd = student.prediction.sigma_data

    # Normalised, a tangent of any size well above `normal` gives nearly the same loss.
    comparable = False

    def target(self, lesson: Lesson) -> Tensor:
        """Return f- - sin(angle) sd g: what the student answers now, moved by the normalised tangent."""
        x, sd = lesson.x, self.sd
        angle = self._angle(lesson.t)
        cos, sin = (rows(upload(one, x.device, x.dtype), x) for one in (angle.cos(), angle.sin()))
        alpha, sigma = self._levels(angle)
        y = x * rows(upload(sd / (alpha**2 * sd**2 + sigma**2).sqrt(), x.device, x.dtype), x)
        taught = answers(self.teacher, lesson._replace(t=self._time(angle)), None)
        path = (cos * y - taught) / sin
        now, change = self._derivative(y, angle, path, lesson.cond)
        first = cos * (path - (cos * y - now) / sin)
        share = 1.0 if self.warmup == 0 else min(1.0, lesson.step / self.warmup)
        tangent = cos * (first + share * (change - first))
        size = tangent.flatten(1).norm(dim=1) / tangent[0].numel() ** 0.5
        return now - sin * sd * (tangent / rows(size + self.normal, tangent))

    def _derivative(self, y: Tensor, angle: Tensor, path: Tensor, cond: Cond) -> tuple[Tensor, Tensor]:
        """Return f [B, C, *D] and df/dangle along the path."""
        here = self._coefficients(angle)
        if self.derivative == "difference":
            h, ends = self.step, []
            for sign in (1, -1):
                moved = self._coefficients(angle + sign * h)
                ends.append(self._answer(moved, y + sign * h * path, cond))
            return self._answer(here, y, cond), (ends[0] - ends[1]) / (2 * h)
        after, before = (self._coefficients(angle + one) for one in (_FINE, -_FINE))
        slopes = _Coefficients(*((a - b) / (2 * _FINE) for a, b in zip(after, before, strict=True)))
        given = tuple(upload(one, y.device, y.dtype) for one in here)
        moving = tuple(upload(one, y.device, y.dtype) for one in slopes)

        def f(y: Tensor, *coefficients: Tensor) -> Tensor:
            return self._answer(_Coefficients(*coefficients), y, cond)

        with sdpa_kernel(SDPBackend.MATH):  # the others have no forward mode
            now, change, *_ = torch.func.jvp(f, (y, *given), (path, *moving))
        return now, change

    def _answer(self, c: _Coefficients, y: Tensor, cond: Cond) -> Tensor:
        skip, out, scale, c_noise = (upload(one, y.device, y.dtype) for one in c)
        return rows(skip, y) * y + rows(out, y) * self.student.network(rows(scale, y) * y, c_noise, cond)

    def _coefficients(self, angle: Tensor) -> _Coefficients:
        """What makes D of y at an angle [B], float64."""
        alpha, sigma = self._levels(angle)
        c_in, skip, out = self.student.prediction.coefficients(alpha, sigma)
        size = (alpha**2 * self.sd**2 + sigma**2).sqrt() / self.sd  # x = size y
        return _Coefficients(skip * size, out, c_in * size, self.student.c_noise(self._time(angle)))

    def _angle(self, t: Tensor) -> Tensor:
        """The angle of t [B], away from both ends, where there is nothing to answer or no signal."""
        snr = self.student.schedule.log_snr(t.double()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
        angle = torch.atan(torch.exp(-snr / 2) / self.sd)
        near = _NEAR + (
            self.step if self.derivative == "difference" else 0.0
        )  # both ends of a difference lie within
        return angle.clamp(near, torch.pi / 2 - near)

    def _log_snr(self, angle: Tensor) -> Tensor:
        return -2 * torch.log(angle.tan() * self.sd)

    def _time(self, angle: Tensor) -> Tensor:
        return self.student.schedule.inverse(self._log_snr(angle))

    def _levels(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        levels = self.student.schedule.levels(self._log_snr(angle))
        return levels.alpha, levels.sigma
