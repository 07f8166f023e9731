"""Distillation: a network learns to make in a few calls what a trained one, its teacher, makes in many.

A method turns what is drawn for a row of a batch, x_t = alpha x0 + sigma eps, into what the student shall answer there,
x0'. Its loss is that of every training, with x0' in place of x0 and with the noise that makes the same x_t of it:

    eps' = (x_t - alpha x0')/sigma

So weights of noise levels, the pseudo-Huber loss, averages and exact resuming are those of the trainer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, TypeAlias

import torch
from torch import Tensor

from multigen import registry
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser, rows
from multigen.core.drive import drive
from multigen.core.guides import Guide, Query
from multigen.core.samplers import Trajectory, polish
from multigen.core.samplers.steps import step_coefficients
from multigen.core.sampling import Sampling
from multigen.core.schedules import Schedule
from multigen.core.upload import upload
from multigen.recipe.schema import Polish
from multigen.registry import Given, Part

# (condition, null condition, guidance scale or None for the teacher's own) -> its guide for one trajectory
Guiding: TypeAlias = Callable[[Cond, Cond, float | None], Guide]


class Teacher(NamedTuple):
    """What is distilled.

    denoiser  the trained network; its weights stay as they are
    guiding   how it is guided
    polish    its passes over a finished sample
    """

    denoiser: Denoiser
    guiding: Guiding
    polish: Polish = Polish()


class Lesson(NamedTuple):
    """Rows that a method makes targets of.

    x     x_t, [B, C, *D]
    t     [B], float64 on the CPU
    cond  B conditions; null: as many null conditions
    u     [B] in [0, 1), drawn for each row, for what a method draws
    step  of the training, from 0
    """

    x: Tensor
    t: Tensor
    cond: Cond
    null: Cond
    u: Tensor
    step: int


class Distillation(ABC):
    """A method of distillation (kind "distillation").

    comparable   whether a lower held-out loss means a better student, as `train.patience` and `keep_best` take it
    """

    comparable: ClassVar[bool] = True

    def times(self, t: Tensor) -> Tensor:
        """Return the times [B] that are trained in place of the drawn ones. By default those."""
        return t

    def told(self, cond: Cond, u: Tensor) -> Cond:
        """Return the condition as the student is told it. By default as it is."""
        return cond

    @abstractmethod
    def target(self, lesson: Lesson) -> Tensor:
        """Return the x0 [B, C, *D] that the student shall answer, without a gradient."""


@torch.no_grad()
def taught(method: Distillation, schedule: Schedule, lesson: Lesson, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Return x0' and eps' [B, C, *D] in place of the lesson's x, which are the data x0, and of eps."""
    x0 = lesson.x
    alpha, sigma = (rows(upload(one, x0.device, x0.dtype), x0) for one in schedule(lesson.t.double()))
    x = alpha * x0 + sigma * eps
    target = method.target(lesson._replace(x=x))
    return target, (x - alpha * target) / sigma


class Progressive(Distillation):
    """One step of the student goes where several of the guided teacher go (Salimans & Ho 2022, arXiv:2202.00512).

    From x_t the teacher walks to x_s, the next point of the student's own grid (`timesteps` at `sample.steps` steps).
    The student's DDIM step gets there from the answer (algorithm 2, in (alpha, sigma))

        x0' = (x_s - a x_t)/b,    x_s = a x_t + b x0'

    The paper halves the number of steps again and again, with `substeps` 2 and the last student as the next teacher;
    more substeps take the stages at once. What is learned holds for the grid and for sampler ddim. The step in which a
    drawn time lies is trained, so that the noise level says how often each is.

    substeps  steps of the teacher for one of the student
    sampler   of the teacher: a deterministic one
    polish    also polish where the teacher's walk ends at the data, as its recipe does
    """

    def __init__(
        self,
        *,
        teacher: Given[Teacher],
        grid: Given[Tensor],
        substeps: int = 2,
        sampler: str = "ddim",
        polish: bool = True,
    ) -> None:
        if substeps < 1:
            raise ValueError(f"substeps: {substeps} is not allowed. Allowed: a whole number, at least 1.")
        self.teacher, self.grid, self.substeps = teacher, grid, substeps
        self.sampler = registry.build("sampler", Part(sampler), where="train.distill.method.sampler")
        self.polish = teacher.polish if polish else Polish()

    def times(self, t: Tensor) -> Tensor:
        """Return the points of the grid at or next above t [B]."""
        rising = self.grid.flip(0)[1:]  # without the data
        place = torch.searchsorted(rising, t.double().contiguous()).clamp(max=len(rising) - 1)
        return rising[place]

    def target(self, lesson: Lesson) -> Tensor:
        """Walk as the teacher from each row's time to the grid's next; return the x0 of the student's one step."""
        schedule, found = self.teacher.denoiser.schedule, torch.empty_like(lesson.x)
        walks: list[tuple[Tensor, Tensor, Tensor, Sampling]] = []
        for t in lesson.t.double().unique():
            here = (lesson.t.double() == t).nonzero()[:, 0]
            s = self.grid[int((self.grid >= t - 1e-9).sum())]
            x, on = lesson.x[here], here.to(lesson.x.device)
            guide = self.teacher.guiding(lesson.cond[on], lesson.null[on], None)
            walks.append((here, t, s, Sampling(self._walk(x, t, s), guide, self.teacher.denoiser)))
        for _ in drive(walk[-1] for walk in walks):
            pass
        for here, t, s, sampling in walks:
            (at, as_), (st, ss) = (one.tolist() for one in schedule(torch.stack([t, s])))
            a, b, _ = step_coefficients(at, st, as_, ss)
            assert sampling.sample is not None
            found[here] = (sampling.sample - a * lesson.x[here]) / b
        return found

    def _walk(self, x: Tensor, t: Tensor, s: Tensor) -> Trajectory:
        """From x_t to x_s, evenly in t."""
        schedule = self.teacher.denoiser.schedule
        share = torch.linspace(0, 1, self.substeps + 1, dtype=torch.float64)
        ts = torch.lerp(t, s, share)
        ts[-1] = s
        self.teacher.denoiser.remember(ts[:-1])
        walk = self.sampler(schedule, x, ts, _no_noise)
        passes = self.polish.passes if float(s) == 0 else 0
        return polish(walk, schedule, passes=passes, noise=self.polish.noise)


class Guidance(Distillation):
    """One call of the student answers what the guided teacher answers in two or more.

    Meng et al. 2022 (arXiv:2210.03142), section 3.1, the first stage; `progressive` with the student as its teacher is
    the second.

    scales  least and largest guidance scale, of which each row draws one and tells it to the student, whose network
            takes it as an input; null: the teacher's own, which the student need not be told
    """

    def __init__(
        self,
        *,
        teacher: Given[Teacher],
        student: Given[Denoiser],
        scales: tuple[float, float] | None = None,
    ) -> None:
        if scales is not None and not 0 <= scales[0] <= scales[1]:
            raise ValueError(f"scales: {list(scales)} is not allowed. Allowed: [least, largest], from 0 on.")
        if scales is not None and not student.backbone.distilled:
            raise ValueError(
                "scales: the student's network takes no guidance scale. Allowed: null, which teaches the scale of the "
                "teacher's recipe; or a network that takes one: backbone.guided=true"
            )
        self.teacher, self.scales = teacher, scales

    def told(self, cond: Cond, u: Tensor) -> Cond:
        """Tell the student the scale of each row."""
        return cond if self.scales is None else cond.with_extra("guidance", self._scale(u).float()[:, None])

    def target(self, lesson: Lesson) -> Tensor:
        """Return the guided teacher's answer at each row's own scale."""
        return answers(self.teacher, lesson, None if self.scales is None else self._scale(lesson.u).tolist())

    def _scale(self, u: Tensor) -> Tensor:
        assert self.scales is not None
        return self.scales[0] + (self.scales[1] - self.scales[0]) * u.double()


def answers(teacher: Teacher, lesson: Lesson, scales: Sequence[float] | None) -> Tensor:
    """Return what the guided teacher answers to each row, x0 [B, C, *D], at its guidance scale or at those given."""
    asked = []
    for row in range(len(lesson.x)):
        here = slice(row, row + 1)
        guide = teacher.guiding(lesson.cond[here], lesson.null[here], None if scales is None else scales[row])
        asked.append(Sampling(_asked(lesson.x[here], lesson.t[row]), guide, teacher.denoiser))
    for _ in drive(asked):
        pass
    return torch.cat([one.sample for one in asked if one.sample is not None])


def _asked(x: Tensor, t: Tensor) -> Trajectory:
    """Ask once and return the answer: x0 of x [B, C, *D] at t (0-d)."""
    return (yield Query(x, t.double()))


def _no_noise(purpose: str, index: int) -> Tensor:
    raise ValueError(
        "train.distill: the teacher's sampler draws noise. Allowed: a deterministic one, such as ddim"
    )
