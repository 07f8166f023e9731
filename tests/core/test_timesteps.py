"""Grids: their ends for every schedule, and parity with k-diffusion and diffusers."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler

from multigen.core import Schedule, schedules, timesteps
from tests.core.peers import k_sampling
from tests.core.test_schedules import ALL

TABLES = [name for name, schedule in ALL.items() if schedule.steps]
GRIDS = {
    "uniform": timesteps.uniform,
    "karras": timesteps.karras,
    "exponential": timesteps.exponential,
    "log_snr": timesteps.log_snr,
    "trailing": timesteps.trailing,
    "leading": timesteps.leading,
}


def ratios(schedule: Schedule, ts: torch.Tensor) -> torch.Tensor:
    alpha, sigma = schedule(ts)
    return sigma / alpha


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", ALL)
def test_every_grid_falls_from_its_start_to_the_data(name: str, grid: str, steps: int) -> None:
    schedule = ALL[name]
    if grid in ("trailing", "leading") and (schedule.steps is None or steps > schedule.steps):
        with pytest.raises(ValueError, match=f"timesteps {grid}"):
            GRIDS[grid](schedule, steps)
        return
    ts = GRIDS[grid](schedule, steps)
    assert ts.shape == (steps + 1,)
    assert ts.dtype == torch.float64
    assert ts[-1] == 0
    assert bool((ts.diff() < 0).all())
    pure = bool(schedule(torch.ones(1, dtype=torch.float64)).alpha == 0)
    if grid == "leading":
        assert ts[0] <= 1
    elif pure or grid in ("uniform", "trailing"):
        assert ts[0] == 1
    else:  # the bounds of log_snr may lie inside the schedule
        assert 0.9 < ts[0] <= 1


@pytest.mark.parametrize("steps", [0, -3])
@pytest.mark.parametrize("grid", GRIDS)
def test_no_steps_are_refused(grid: str, steps: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        GRIDS[grid](schedules.linear(), steps)


@pytest.mark.parametrize("steps", [1, 7, 18])
def test_karras_and_exponential_equal_k_diffusion_on_edm(steps: int) -> None:
    k = k_sampling()
    schedule = schedules.edm(sigma_min=0.02, sigma_max=40.0)
    for grid, theirs in (
        (timesteps.karras, k.get_sigmas_karras(steps, 0.02, 40.0, rho=7.0)),
        (timesteps.exponential, k.get_sigmas_exponential(steps, 0.02, 40.0)),
    ):
        ours = schedule(grid(schedule, steps)).sigma
        torch.testing.assert_close(ours, theirs.double(), atol=1e-6, rtol=1e-5)


def test_karras_equals_k_diffusion_on_any_schedule_and_bounds() -> None:
    k = k_sampling()
    for name in ("scaled_linear", "discrete", "linear"):
        ts = timesteps.karras(ALL[name], 9, rho=5.0, sigma_min=0.2, sigma_max=3.0)
        theirs = k.get_sigmas_karras(9, 0.2, 3.0, rho=5.0).double()
        torch.testing.assert_close(ratios(ALL[name], ts), theirs, atol=1e-6, rtol=1e-5)
    # Where alpha reaches 0, t = 1 stands in front and takes one of the steps.
    ts = timesteps.karras(ALL["cosine"], 10, rho=5.0, sigma_min=0.2, sigma_max=3.0)
    assert ts[0] == 1
    torch.testing.assert_close(ratios(ALL["cosine"], ts[1:]), theirs, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ["karras", "exponential"])
def test_karras_and_exponential_equal_diffusers(kind: str) -> None:
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        use_karras_sigmas=kind == "karras",
        use_exponential_sigmas=kind == "exponential",
    )
    scheduler.set_timesteps(12)
    schedule = schedules.scaled_linear()
    ts = GRIDS[kind](schedule, 12)
    torch.testing.assert_close(ratios(schedule, ts), scheduler.sigmas.double(), atol=1e-6, rtol=2e-5)
    # Their times come of an interpolation in log sigma between indices, as ours do.
    torch.testing.assert_close(ts[:-1] * 1000 - 1, scheduler.timesteps.double(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 30, 1000])
def test_trailing_and_leading_equal_diffusers(steps: int) -> None:
    schedule = schedules.linear()
    for spacing, grid in (("trailing", timesteps.trailing), ("leading", timesteps.leading)):
        scheduler = DDIMScheduler(timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        ours = (grid(schedule, steps)[:-1] * 1000).round().long() - 1
        assert ours.tolist() == scheduler.timesteps.tolist()
    if steps < 1000:
        scheduler = DDIMScheduler(timestep_spacing="leading", steps_offset=1)
        scheduler.set_timesteps(steps)
        ours = (timesteps.leading(schedule, steps, offset=1)[:-1] * 1000).round().long() - 1
        assert ours.tolist() == scheduler.timesteps.tolist()


def test_trailing_equals_dpm_solver_too() -> None:
    scheduler = DPMSolverMultistepScheduler(timestep_spacing="trailing")
    scheduler.set_timesteps(15)
    ours = (timesteps.trailing(schedules.linear(), 15)[:-1] * 1000).round().long() - 1
    assert ours.tolist() == scheduler.timesteps.tolist()


def test_log_snr_is_even_between_its_bounds() -> None:
    schedule = schedules.cosine()
    ts = timesteps.log_snr(schedule, 12, low=-5.0, high=6.0)
    snr = schedule.log_snr(ts[1:-1])
    torch.testing.assert_close(snr, torch.linspace(-5, 6, 11, dtype=torch.float64), atol=1e-9, rtol=0)
    drawn_in = schedules.linear().log_snr(timesteps.log_snr(schedules.linear(), 9)[[0, -2]])
    reach = schedules.linear().log_snr(torch.tensor([1.0, 0.001], dtype=torch.float64))
    torch.testing.assert_close(drawn_in[1], reach[1], atol=1e-9, rtol=0)
    assert drawn_in[0] == pytest.approx(-9.2)


def test_edm_grids_end_at_the_schedules_own_least_sigma() -> None:
    for least in (0.0001, 0.02):
        schedule = schedules.edm(sigma_min=least)
        assert schedule(timesteps.karras(schedule, 10)).sigma[-2] == pytest.approx(least, rel=1e-6)


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        ("edm", {"sigma_max": 100.0}),
        ("edm", {"sigma_min": 0.001}),
        ("linear", {"sigma_max": 1000.0}),
        ("flow", {"sigma_min": 2.0, "sigma_max": 1.0}),
        ("flow", {"sigma_min": 0.0}),
    ],
)
def test_bounds_out_of_reach_are_refused(name: str, bounds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="sigma_min < sigma_max within"):
        timesteps.karras(ALL[name], 5, **bounds)


def test_leading_offset_must_stay_in_the_table() -> None:
    assert timesteps.leading(schedules.linear(steps=10), 3, offset=3)[0] == 1
    with pytest.raises(ValueError, match="offset of 0 to 3, not 4"):
        timesteps.leading(schedules.linear(steps=10), 3, offset=4)
