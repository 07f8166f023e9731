"""Grids: their ends for every schedule, and parity with k-diffusion and diffusers."""

from __future__ import annotations

import math
from typing import Any

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
    "quadratic": timesteps.quadratic,
    "beta": timesteps.beta,
    "beta_sigma": lambda schedule, steps: timesteps.beta(schedule, steps, of="sigma"),
}
# diffusers' sigmas come from 1 - alpha² in fp32, which is 9e-4 at the clean end: a rounding of 6e-8 becomes up to
# 3e-5 of sigma there (1.3e-5 found). The sigma of the next index is 3e-3 away.
FROM_FP32: dict[str, float] = {"atol": 1e-6, "rtol": 1e-4}


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
    elif pure or grid in ("uniform", "trailing", "quadratic", "beta"):
        assert ts[0] == 1
    else:  # the bounds of log_snr may lie inside the schedule
        assert 0.9 < ts[0] <= 1


@pytest.mark.parametrize("steps", [0, -3])
@pytest.mark.parametrize("grid", GRIDS)
def test_no_steps_are_refused(grid: str, steps: int) -> None:
    with pytest.raises(ValueError, match="1 to 100,000"):
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
    torch.testing.assert_close(ratios(schedule, ts), scheduler.sigmas.double(), **FROM_FP32)
    # Their times come of an interpolation in log sigma between indices, as ours do; an index is 3e-3 or more of log
    # sigma, so that 1e-5 of a sigma is up to 3e-3 of an index.
    torch.testing.assert_close(ts[:-1] * 1000 - 1, scheduler.timesteps.double(), atol=0.02, rtol=0)


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


def test_quadratic_is_even_in_the_square_root() -> None:
    for name in ("flow", "cosine", "edm"):
        ts = timesteps.quadratic(ALL[name], 8)
        torch.testing.assert_close(
            ts.sqrt(), torch.linspace(1, 0, 9, dtype=torch.float64), atol=1e-12, rtol=0
        )
    # Of a table: the indices of DDIM's own quadratic spacing, over the whole of the table.
    index = timesteps.quadratic(schedules.linear(), 10)[:-1] * 1000 - 1
    expected = torch.linspace(math.sqrt(999), 0, 10, dtype=torch.float64) ** 2
    torch.testing.assert_close(index, expected, atol=1e-9, rtol=0)


@pytest.mark.parametrize(
    ("a", "b"), [(0.6, 0.6), (0.3, 10.0), (10.0, 0.3), (2.0, 5.0), (1.0, 1.0), (9.5, 10.0)]
)
def test_beta_holds_the_quantiles_of_the_distribution(a: float, b: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    even = torch.linspace(1, 0, 101, dtype=torch.float64)
    exact = torch.tensor(stats.beta.ppf(even.numpy(), a, b))
    ts = timesteps.beta(schedules.flow(), 100, a=a, b=b)
    torch.testing.assert_close(ts, exact, atol=1e-12, rtol=0)


def test_beta_of_one_is_uniform() -> None:
    ts = timesteps.beta(schedules.flow(), 40, a=1.0, b=1.0)
    torch.testing.assert_close(ts, timesteps.uniform(schedules.flow(), 40), atol=1e-12, rtol=0)
    for a, b in ((0.29, 1.0), (1.0, 11.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match=f"a and b from 0.3 to 10; given: a={a}, b={b}"):
            timesteps.beta(schedules.flow(), 4, a=a, b=b)


@pytest.mark.parametrize("steps", [2, 12, 50])
def test_beta_of_sigma_equals_diffusers(steps: int) -> None:
    scheduler = EulerDiscreteScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, use_beta_sigmas=True
    )
    scheduler.set_timesteps(steps)
    schedule = schedules.scaled_linear()
    ts = timesteps.beta(schedule, steps, of="sigma")
    torch.testing.assert_close(ratios(schedule, ts), scheduler.sigmas.double(), **FROM_FP32)


@pytest.mark.parametrize("of", ["t", "sigma", "log_snr", "index"])
def test_a_list_is_taken_as_it_is(of: Any) -> None:
    schedule = schedules.scaled_linear()
    ts = torch.tensor([1.0, 0.7, 0.25, 0.1], dtype=torch.float64)
    values = {
        "t": ts,
        "sigma": ratios(schedule, ts),
        "log_snr": schedule.log_snr(ts),
        "index": ts * 1000 - 1,
    }[of]
    for given in (values.tolist(), [*values.tolist(), 0.0]) if of in ("t", "sigma") else (values.tolist(),):
        found = timesteps.listed(schedule, 4, values=tuple(given), of=of)
        torch.testing.assert_close(found, torch.cat([ts, ts.new_zeros(1)]), atol=1e-9, rtol=0)
    with pytest.raises(ValueError, match="list holds 4 steps, not 24. Ask for 4, or use timesteps table"):
        timesteps.listed(schedule, 24, values=tuple(values.tolist()), of=of)


@pytest.mark.parametrize(
    ("of", "values"),
    [
        ("t", ()),
        ("t", (0.0,)),
        ("t", (1.1, 0.5)),
        ("t", (0.5, 0.5)),
        ("t", (0.5, 0.7)),
        ("t", (0.5, -0.1)),
        ("t", (math.nan, 0.5)),
        ("t", (0.5, 0.0, 0.0)),
        ("sigma", (20.0, 1.0)),
        ("sigma", (1.0, -1.0)),
        ("sigma", (math.inf, 1.0)),
        ("log_snr", (3.0, -2.0)),
        ("log_snr", (-40.0, 2.0)),
        ("index", (1000.0, 3.0)),
        ("index", (10.0, -1.0)),
    ],
)
@pytest.mark.parametrize("grid", [timesteps.listed, timesteps.table])
def test_lists_that_no_sampler_can_walk_are_refused(grid: Any, of: Any, values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=f"numbers that fall towards the data.*given as {of}: "):
        grid(schedules.scaled_linear(), max(len(values), 1), values=values, of=of)


def test_indices_need_a_table() -> None:
    with pytest.raises(ValueError, match="timesteps list space the indices of a table"):
        timesteps.listed(schedules.flow(), 2, values=(5.0, 3.0), of="index")


def test_a_table_is_spread_log_linearly() -> None:
    schedule = schedules.edm(sigma_min=0.002, sigma_max=80.0)
    values = (80.0, 8.0, 0.8, 0.02)
    same = timesteps.table(schedule, 4, values=values)
    torch.testing.assert_close(
        ratios(schedule, same)[:-1], torch.tensor(values).double(), atol=1e-6, rtol=1e-6
    )
    assert same[-1] == 0
    finer = ratios(schedule, timesteps.table(schedule, 7, values=values))
    between = [80.0, math.sqrt(640), 8.0, math.sqrt(6.4), 0.8, math.sqrt(0.016), 0.02, 0.0]
    torch.testing.assert_close(finer, torch.tensor(between).double(), atol=1e-6, rtol=1e-6)
    coarser = ratios(schedule, timesteps.table(schedule, 2, values=values))
    torch.testing.assert_close(coarser, torch.tensor([80.0, 0.02, 0.0]).double(), atol=1e-6, rtol=1e-6)


def test_a_table_may_begin_in_pure_noise() -> None:
    ts = timesteps.table(schedules.flow(), 6, values=(1.0, 0.9, 0.5, 0.1), of="t")
    assert ts[0] == 1
    assert ts[1].item() == pytest.approx(0.9)
    assert ts[-2].item() == pytest.approx(0.1)
    assert len(ts) == 7
    assert timesteps.table(schedules.flow(), 1, values=(1.0,), of="t").tolist() == [1, 0]
    with pytest.raises(ValueError, match="1 numbers cannot be spread over 3 steps"):
        timesteps.table(schedules.flow(), 3, values=(0.5,), of="t")


def test_linear_quadratic_is_that_of_diffusers() -> None:
    theirs = pytest.importorskip("diffusers.pipelines.ltx.pipeline_ltx_condition").linear_quadratic_schedule
    flow = schedules.flow()
    for steps in (1, 2, 7, 40):
        sigma = flow(timesteps.linear_quadratic(flow, steps)).sigma
        torch.testing.assert_close(sigma[:-1].float(), theirs(steps), rtol=0, atol=1e-6)
        assert sigma[-1] == 0
    with pytest.raises(ValueError, match=r"a threshold between 0 and 0.5, not 0.5"):
        timesteps.linear_quadratic(flow, 4, threshold=0.5)
    with pytest.raises(ValueError, match="space the sigma of a flow, and this schedule is none"):
        timesteps.linear_quadratic(schedules.cosine(), 4)
