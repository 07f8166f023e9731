"""Distillation: targets against exact teachers, and a student that learns and resumes bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigen import registry
from multigen.core import Backbone, Cond, Denoiser, cfg, plain, solve
from multigen.core.guides import Guide, Query
from multigen.core.predictions import edm as edm_prediction
from multigen.core.predictions import x0 as x0_prediction
from multigen.core.samplers import Trajectory, ddim
from multigen.core.samplers.steps import transfer
from multigen.core.schedules import Schedule, cosine, edm, flow
from multigen.core.timesteps import uniform
from multigen.errors import RecipeError
from multigen.recipe.schema import Polish
from multigen.registry import Part
from multigen.training import checkpoint as checkpoints
from multigen.training.distillation import Distillation, Guidance, Lesson, Progressive, Teacher, taught
from multigen.training.trainer import Trainer
from tests.training.toys import Labels, Mlp, diffusion, trainer

SD = 0.7  # of Gaussian data, whose denoiser and paths are known
SCHEDULES = {"flow": flow(), "cosine": cosine(), "edm": edm()}


class Known(Backbone):
    """F is a known function of (x, alpha, sigma), times a weight that learns."""

    def __init__(self, schedule: Schedule, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.schedule, self.function, self.weight = schedule, function, nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = (one.to(x).view(-1, 1, 1) for one in self.schedule.levels(c_noise.double()))
        told = 0 if cond.vector is None else cond.vector.mean(1).view(-1, 1, 1)
        return self.weight * self.function(x, alpha, sigma) + told


def mean(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The denoiser of data N(0, SD²)."""
    return alpha * SD**2 * x / (alpha**2 * SD**2 + sigma**2)


def end(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Where its probability flow from x ends: x keeps its size in standard deviations."""
    return SD * x / (alpha**2 * SD**2 + sigma**2).sqrt()


def exact(schedule: Schedule, function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Denoiser:
    """A denoiser that answers what the function says of x itself, whatever c_in makes of it on the way."""

    def scaled(x: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        return function(x * (alpha**2 * SD**2 + sigma**2).clamp_min(1).sqrt(), alpha, sigma)

    return Denoiser(Known(schedule, scaled), schedule, x0_prediction(sigma_data=SD))


def unguided(denoiser: Denoiser) -> Teacher:
    return Teacher(denoiser, lambda cond, null, scale: plain(cond, null))


def no_noise(purpose: str, index: int) -> Tensor:
    raise AssertionError


def lesson(
    schedule: Schedule, t: Tensor, cond: Cond | None = None, null: Cond | None = None, step: int = 0
) -> Lesson:
    x = torch.randn(len(t), 1, 8, generator=torch.Generator().manual_seed(0))
    x = x * schedule(t).sigma.view(-1, 1, 1).clamp_min(1).float()
    return Lesson(x, t, cond or Cond(), null or Cond(), torch.linspace(0, 1, len(t)), step)


def times(schedule: Schedule) -> Tensor:
    return schedule.inverse(torch.tensor([6.0, 2.0, 0.0, -2.0, -5.0], dtype=torch.float64))


# --- progressive ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_step_of_the_student_goes_where_the_teachers_steps_go(name: str) -> None:
    schedule = SCHEDULES[name]
    teacher, grid = exact(schedule, mean), uniform(schedule, 4)
    method = Progressive(teacher=unguided(teacher), grid=grid, substeps=3)
    at = method.times(torch.tensor([1.0, 0.76, 0.75, 0.3, 0.01], dtype=torch.float64))
    torch.testing.assert_close(at, grid[[0, 0, 1, 2, 3]])
    rows = lesson(schedule, at)
    target = method.target(rows)
    for row, (t, k) in enumerate(zip(at, (0, 0, 1, 2, 3), strict=True)):
        x, s = rows.x[row : row + 1], grid[k + 1]
        ts = torch.stack([t, t + (s - t) / 3, t + (s - t) * 2 / 3, s])
        walked = solve(ddim(schedule, x, ts, no_noise), plain(Cond(), Cond()), teacher)
        stepped = transfer(schedule, x, target[row : row + 1], t, s)
        torch.testing.assert_close(stepped, walked, rtol=1e-4, atol=1e-4)
        once = teacher(x, t.reshape(1), Cond())
        assert (target[row] - once).abs().max() > 1e-3  # more than the teacher's own answer


def test_what_ends_at_the_data_is_polished_as_the_teacher_polishes() -> None:
    teacher, grid = exact(flow(), mean), uniform(flow(), 2)
    with_polish = unguided(teacher)._replace(polish=Polish(passes=1, noise=0.5))
    rows = lesson(flow(), grid[:2])
    plain_ends, polished = (
        Progressive(teacher=with_polish, grid=grid, polish=on).target(rows) for on in (False, True)
    )
    torch.testing.assert_close(polished[0], plain_ends[0])  # its walk ends in noise
    x = plain_ends[1] * (1 / 1.5)  # alpha where sigma/alpha = 0.5
    t = flow().inverse(torch.tensor([4 * 0.6931471805599453], dtype=torch.float64) / 2)
    torch.testing.assert_close(polished[1], teacher(x[None], t, Cond())[0], rtol=1e-3, atol=1e-4)


def test_a_sampler_that_draws_is_refused_and_so_are_no_substeps() -> None:
    teacher = unguided(exact(flow(), mean))
    with pytest.raises(ValueError, match="Allowed: a deterministic one, such as ddim"):
        Progressive(teacher=teacher, grid=uniform(flow(), 2), sampler="ddpm").target(
            lesson(flow(), torch.tensor([1.0, 0.5], dtype=torch.float64))
        )
    part, given = Part("progressive", {"substeps": 0}), {"teacher": teacher, "grid": uniform(flow(), 2)}
    with pytest.raises(RecipeError, match=r"substeps: 0 is not allowed. Allowed: a whole number, at least 1"):
        registry.build("distillation", part, where="train.distill.method", given=given)


# --- guidance ---------------------------------------------------------------------------------------------------


def guided(denoiser: Denoiser) -> Teacher:
    def guiding(cond: Cond, null: Cond, scale: float | None) -> Guide:
        return cfg(cond, null, scale=2.0 if scale is None else scale)

    return Teacher(denoiser, guiding)


def test_the_student_learns_the_guided_answer_at_its_own_or_a_told_scale() -> None:
    t = times(flow())
    cond, null = Cond(vector=torch.full((5, 4), 0.3)), Cond(vector=torch.full((5, 4), -0.1))
    rows = lesson(flow(), t, cond, null)
    teacher, student = exact(flow(), mean), exact(flow(), mean)
    own = Guidance(teacher=guided(teacher), student=student)
    with_, without = teacher(rows.x, t, cond), teacher(rows.x, t, null)
    torch.testing.assert_close(own.target(rows), without + 2 * (with_ - without))
    assert own.told(cond, rows.u) is cond
    with pytest.raises(ValueError, match=r"scales: the student's network takes no guidance scale"):
        Guidance(teacher=guided(teacher), student=student, scales=(1.0, 5.0))
    student.backbone.distilled = True
    told = Guidance(teacher=guided(teacher), student=student, scales=(1.0, 5.0))
    scales = 1 + 4 * rows.u.view(-1, 1, 1)
    torch.testing.assert_close(told.target(rows), without + scales * (with_ - without))
    torch.testing.assert_close(told.told(cond, rows.u).extra["guidance"], scales[:, 0])


# --- the trainer ------------------------------------------------------------------------------------------------


def test_the_same_x_is_made_of_the_target_and_its_noise() -> None:
    t = times(flow())
    rows, eps = lesson(flow(), t), torch.randn(5, 1, 8)
    alpha, sigma = (one.float().view(-1, 1, 1) for one in flow()(t))
    method = Guidance(teacher=unguided(exact(flow(), mean)), student=exact(flow(), mean))
    x0, noise = taught(method, flow(), rows, eps)
    torch.testing.assert_close(alpha * x0 + sigma * noise, alpha * rows.x + sigma * eps, rtol=1e-4, atol=1e-4)


def student(folder: Path, method: Callable[[Denoiser], Distillation], **settings: Any) -> Trainer:
    made = trainer(folder, seed=3, lr=3e-3, **settings)
    diffusion(made).distilled = method(diffusion(made).denoiser)
    return made


def halves(denoiser: Denoiser) -> Distillation:
    torch.manual_seed(9)
    labels = Labels()
    teacher = Denoiser(Mlp(), denoiser.schedule, denoiser.prediction)
    assert labels.spec.vector == 4
    return Progressive(teacher=unguided(teacher), grid=uniform(denoiser.schedule, 2))


def test_a_student_learns_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = student(tmp_path / "whole", halves, steps=60, checkpoint_every=1000, log_every=1)
    whole.run()
    rows = [row["loss"] for row in _log(tmp_path / "whole")]
    assert sum(rows[-10:]) < 0.5 * sum(rows[:10])
    first = student(tmp_path / "parts", halves, steps=60, checkpoint_every=20)
    inner = first._update

    def stop(batch: object) -> dict[str, float]:
        if first.step == 33:
            raise KeyboardInterrupt
        return inner(batch)  # type: ignore[arg-type]

    first._update = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = student(tmp_path / "parts", halves, steps=60, checkpoint_every=20)
    newest = checkpoints.newest(tmp_path / "parts" / "checkpoints")
    assert newest is not None
    second.restore(checkpoints.load(newest))
    assert second.step == 20
    second.run()
    for name, value in whole.parameters.items():
        assert torch.equal(value, second.parameters[name]), name


def _log(folder: Path) -> list[dict[str, float]]:
    from multigen.training import log as training_log

    return [row for row in training_log.read(folder) if "loss" in row]


def test_edm_predictions_are_taught_alike() -> None:
    """The target is an x0: what the network predicts does not matter."""
    schedule = edm()
    teacher = Denoiser(Known(schedule, lambda x, a, s: 0 * x), schedule, edm_prediction(sigma_data=SD))
    rows = lesson(schedule, times(schedule))
    answer = solve(_once(rows.x[:1], rows.t[0]), plain(Cond(), Cond()), teacher)
    method = Guidance(teacher=unguided(teacher), student=teacher)
    torch.testing.assert_close(method.target(rows)[:1], answer)


def _once(x: Tensor, t: Tensor) -> Trajectory:
    return (yield Query(x, t))
