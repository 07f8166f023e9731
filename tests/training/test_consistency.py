"""sCM: a consistent student is told to stay as it is, by both derivatives; another one learns to be consistent."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor

from multigen.core import Cond, Denoiser, Driver, plain, solve
from multigen.core.noise import Noise
from multigen.core.predictions import edm
from multigen.core.samplers import Trajectory, consistency
from multigen.core.sampling import Sampling
from multigen.core.timesteps import uniform
from multigen.training.consistency import Consistency
from multigen.training.distillation import taught
from tests.training.test_distillation import SCHEDULES, SD, Known, end, exact, lesson, mean, times, unguided

Derivative = Literal["forward", "difference"]


def method(name: str, student: Denoiser, derivative: Derivative = "forward", warmup: int = 0) -> Consistency:
    teacher = unguided(exact(SCHEDULES[name], mean))
    return Consistency(teacher=teacher, student=student, warmup=warmup, derivative=derivative)


@pytest.mark.parametrize("derivative", ["forward", "difference"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_consistent_student_is_left_as_it_is(name: str, derivative: Derivative) -> None:
    student = exact(SCHEDULES[name], end)
    rows = lesson(SCHEDULES[name], times(SCHEDULES[name]))
    with torch.no_grad():
        now, then = student(rows.x, rows.t, Cond()), method(name, student, derivative).target(rows)
    torch.testing.assert_close(then, now, rtol=0, atol=5e-3)


def test_both_derivatives_are_the_same_and_r_takes_in_the_second_part() -> None:
    student = exact(SCHEDULES["flow"], mean)
    rows = lesson(SCHEDULES["flow"], times(SCHEDULES["flow"]))
    forward, difference = (method("flow", student, how).target(rows) for how in ("forward", "difference"))
    torch.testing.assert_close(forward, difference, rtol=0, atol=2e-3)
    now = student(rows.x, rows.t, Cond())
    # The teacher's own F is its path, so that only the student's change is left: nothing at first.
    early, late = (method("flow", student, warmup=100).target(rows._replace(step=k)) for k in (0, 100))
    torch.testing.assert_close(early, now, rtol=0, atol=1e-4)
    torch.testing.assert_close(late, forward)
    assert (late - now).abs().max() > 0.01


@pytest.mark.parametrize("derivative", ["forward", "difference"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_ends_of_the_path_have_a_target(name: str, derivative: Derivative) -> None:
    """A step of the difference does not leave the angles between the data and pure noise."""
    schedule = SCHEDULES[name]
    student = exact(schedule, end)
    rows = lesson(schedule, schedule.inverse(torch.tensor([60.0, 15.0, -15.0, -60.0], dtype=torch.float64)))
    how = Consistency(
        teacher=unguided(exact(schedule, mean)), student=student, warmup=0, derivative=derivative, step=0.1
    )
    assert how.target(rows).isfinite().all()


def begins_with_the_data(name: str) -> Denoiser:
    """A student whose F is right up to one factor. At sigma = 0 it answers x, whatever the factor is."""

    def output(scaled: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        size = (alpha**2 * SD**2 + sigma**2).sqrt()
        return scaled * size * (1 - alpha * SD / size) / sigma

    schedule = SCHEDULES[name]
    return Denoiser(Known(schedule, output), schedule, edm(sigma_data=SD))


@pytest.mark.parametrize("name", ["flow", "edm"])
def test_a_student_becomes_consistent(name: str) -> None:
    """It learns that the factor is 1."""
    schedule, student = SCHEDULES[name], begins_with_the_data(name)
    (factor,) = student.parameters()
    torch.nn.init.constant_(factor, 0.7)
    how, optimizer = method(name, student), torch.optim.Adam([factor], lr=0.02)
    generator = torch.Generator().manual_seed(1)
    for step in range(120):
        x0, eps = torch.randn(2, 32, 1, 8, generator=generator)
        t = schedule.inverse(torch.empty(32, dtype=torch.float64).uniform_(-6, 6, generator=generator))
        target, noise = taught(how, schedule, lesson(schedule, t, step=step)._replace(x=SD * x0), eps)
        optimizer.zero_grad()
        student.loss(target, t, Cond(), noise).mean().backward()
        optimizer.step()
    assert factor.item() == pytest.approx(1, abs=0.05)


def test_one_two_and_four_steps_share_calls_and_end_as_alone() -> None:
    schedule, student = SCHEDULES["flow"], exact(SCHEDULES["flow"], end)

    def walk(row: int, steps: int) -> Trajectory:
        noise = Noise([row], (1, 8))
        return consistency(schedule, noise("start", 0), uniform(schedule, steps), noise)

    driver = Driver()
    asked = [
        driver.add(Sampling(walk(k, n), plain(Cond(), Cond()), student)) for k, n in enumerate((1, 2, 4))
    ]
    while driver.samplings:
        driver.round()
    assert (driver.calls, driver.samples) == (4, 7)
    for k, n in enumerate((1, 2, 4)):
        alone = solve(walk(k, n), plain(Cond(), Cond()), student)
        assert asked[k].sample is not None
        torch.testing.assert_close(asked[k].sample, alone)


@pytest.mark.parametrize("wrong", [{"warmup": -1}, {"normal": 0.0}, {"step": 0.2}])
def test_values_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    student = exact(SCHEDULES["flow"], mean)
    with pytest.raises(ValueError, match="warmup is 0 or more, normal above 0"):
        Consistency(teacher=unguided(student), student=student, **wrong)  # type: ignore[arg-type]
