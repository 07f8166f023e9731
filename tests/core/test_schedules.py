"""Schedules against the tables of diffusers, and against themselves."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, EDMEulerScheduler, FlowMatchEulerDiscreteScheduler

from multigen.core import Schedule, schedules

ALL: dict[str, Schedule] = {
    "cosine": schedules.cosine(),
    "cosine_s0": schedules.cosine(s=0.0),
    "cosine_shift": schedules.cosine(shift=3.0),
    "sigmoid": schedules.sigmoid(),
    "sigmoid_steep": schedules.sigmoid(start=0.0, tau=0.3),
    "linear": schedules.linear(),
    "linear_zero": schedules.linear(zero_terminal_snr=True),
    "scaled_linear": schedules.scaled_linear(),
    "scaled_linear_zero_shift": schedules.scaled_linear(zero_terminal_snr=True, shift=2.0),
    "discrete": schedules.discrete(alphas_cumprod=(0.99, 0.9, 0.5, 0.1, 0.01)),
    "edm": schedules.edm(),
    "flow": schedules.flow(),
    "flow_shift": schedules.flow(shift=3.0),
}
everyone = pytest.mark.parametrize("name", ALL)


def table(schedule: Schedule) -> torch.Tensor:
    """alpha² at the table's indices, t = (i+1)/N."""
    n = schedule.steps or 1000
    return schedule((torch.arange(n, dtype=torch.float64) + 1) / n).alpha ** 2


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (schedules.linear(), {"beta_schedule": "linear"}),
        (
            schedules.linear(zero_terminal_snr=True),
            {"beta_schedule": "linear", "rescale_betas_zero_snr": True},
        ),
        (
            schedules.scaled_linear(),
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        (
            schedules.scaled_linear(steps=77, zero_terminal_snr=True),
            {
                "beta_schedule": "scaled_linear",
                "beta_start": 0.00085,
                "beta_end": 0.012,
                "num_train_timesteps": 77,
                "rescale_betas_zero_snr": True,
            },
        ),
    ],
)
def test_tables_equal_diffusers(schedule: Schedule, options: dict[str, object]) -> None:
    theirs = DDPMScheduler(**options).alphas_cumprod.double()
    # They accumulate 1000 products in fp32 (6e-8 each, 5e-7 together); ours are float64. One entry off: 2e-3.
    torch.testing.assert_close(table(schedule), theirs, atol=1e-5, rtol=0)


def test_cosine_equals_diffusers_but_for_its_clipped_last_entry() -> None:
    theirs = DDPMScheduler(beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    ours = table(schedules.cosine())
    torch.testing.assert_close(ours[:-1], theirs[:-1], atol=1e-5, rtol=0)
    assert ours[-1] == 0 < theirs[-1]


def test_discrete_takes_a_foreign_table_exactly() -> None:
    foreign = DDPMScheduler().alphas_cumprod
    ours = schedules.discrete(alphas_cumprod=foreign.tolist())
    torch.testing.assert_close(table(ours), foreign.double(), atol=1e-14, rtol=1e-12)
    # sigma² as exact as alpha², down to the table's cleanest entry.
    t = torch.tensor([1 / 1000], dtype=torch.float64)
    torch.testing.assert_close(ours(t).sigma ** 2, 1 - foreign[:1].double(), atol=0, rtol=1e-10)


def test_edm_equals_diffusers_sigmas() -> None:
    scheduler = EDMEulerScheduler()
    scheduler.set_timesteps(18)
    ramp = torch.linspace(1, 0, 18, dtype=torch.float64).clamp_min(1e-12)
    ours = schedules.edm()(ramp)
    torch.testing.assert_close(ours.sigma, scheduler.sigmas[:-1].double(), atol=0, rtol=2e-6)
    assert bool((ours.alpha == 1).all())
    assert schedules.edm()(torch.zeros(1)).sigma == 0


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_equals_diffusers_sigmas_with_shift(shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    theirs = scheduler.sigmas.double().flip(0)  # index i stands for t = (i+1)/1000
    t = (torch.arange(1000, dtype=torch.float64) + 1) / 1000
    ours = schedules.flow(shift=shift)(t)
    # Theirs are fp32, and the shift's slope is 3: 1e-7. The next entry is 3e-4 away.
    torch.testing.assert_close(ours.sigma, theirs, atol=2e-6, rtol=0)
    torch.testing.assert_close(ours.alpha + ours.sigma, torch.ones_like(t), atol=1e-14, rtol=0)


@everyone
def test_inverse_undoes_log_snr(name: str) -> None:
    schedule = ALL[name]
    inside = torch.cat(
        [torch.logspace(-6, -2, 50, dtype=torch.float64), torch.linspace(0.01, 0.9999, 333).double()]
    )
    back = schedule.inverse(schedule.log_snr(inside))
    torch.testing.assert_close(back, inside, atol=1e-13, rtol=1e-9)


@everyone
def test_ends_family_and_fall(name: str) -> None:
    schedule = ALL[name]
    t = torch.linspace(0, 1, 2001, dtype=torch.float64)
    alpha, sigma = schedule(t)
    assert (alpha[0], sigma[0]) == (1, 0)
    assert bool((schedule.log_snr(t).diff() < 0).all())
    whole = {"vp": alpha**2 + sigma**2, "flow": alpha + sigma, "ve": alpha}[schedule.family]
    torch.testing.assert_close(whole, torch.ones_like(t), atol=1e-14, rtol=0)
    torch.testing.assert_close(
        schedule.log_snr(t)[1:-1], 2 * torch.log(alpha / sigma)[1:-1], atol=1e-9, rtol=1e-9
    )
    assert torch.isfinite(alpha).all()
    assert torch.isfinite(sigma).all()


@pytest.mark.parametrize(
    "name", ["cosine", "sigmoid", "linear_zero", "scaled_linear_zero_shift", "flow", "flow_shift"]
)
def test_pure_noise_at_one(name: str) -> None:
    alpha, sigma = ALL[name](torch.ones(2, dtype=torch.float64))
    assert alpha.tolist() == [0, 0]
    assert sigma.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["cosine", "sigmoid", "linear", "flow"])
def test_sigma_keeps_its_digits_near_the_data(name: str) -> None:
    """sigma ~ t^p: doubling t multiplies it by 2^p, to 1e-6, where 1 - alpha² alone would have no digit left."""
    t = torch.tensor([1e-12, 2e-12], dtype=torch.float64)
    sigma = ALL[name](t).sigma
    power = {"cosine": 0.5, "sigmoid": 0.5, "linear": 1.0, "flow": 1.0}[name]
    assert math.log2(sigma[1] / sigma[0]) == pytest.approx(power, abs=1e-6)


@everyone
def test_shift_multiplies_sigma_over_alpha(name: str) -> None:
    schedule = ALL[name]
    shifted = Schedule(schedule.family, schedule.curve, schedule.shift * 4, schedule.steps)
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    (a, s), (b, u) = schedule(t), shifted(t)
    torch.testing.assert_close(u / b, 4 * s / a, atol=0, rtol=1e-10)


def test_float32_times_are_computed_in_float64() -> None:
    t = torch.tensor([0.2, 0.7])
    alpha, sigma = schedules.cosine()(t)
    exact = schedules.cosine()(t.double())
    assert alpha.dtype == sigma.dtype == torch.float32
    torch.testing.assert_close(alpha, exact.alpha.float(), atol=0, rtol=0)


IMPOSSIBLE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("flow", {"shift": 0.0}),
    ("flow", {"shift": math.inf}),
    ("cosine", {"s": -0.1}),
    ("cosine", {"s": math.inf}),
    ("edm", {"sigma_min": 2.0, "sigma_max": 1.0}),
    ("edm", {"rho": 0.0}),
    ("edm", {"rho": 1e-3}),
    ("sigmoid", {"start": 1.0, "end": 0.0}),
    ("sigmoid", {"tau": 0.001}),
    ("linear", {"steps": -3}),
    ("linear", {"steps": 1}),
    ("linear", {"steps": 10**15}),
    ("linear", {"beta_end": 1.0}),
    ("linear", {"beta_start": 0.9, "beta_end": 0.99}),  # no signal is left
    ("scaled_linear", {"beta_start": -1.0}),
    ("scaled_linear", {"beta_start": 0.0}),
    ("scaled_linear", {"beta_start": 0.02}),  # over the default of beta_end
    ("scaled_linear", {"beta_end": math.nan}),
)


@pytest.mark.parametrize(("name", "given"), IMPOSSIBLE)
def test_impossible_schedules_are_refused_with_what_was_given(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r" needs .*<=.*; given: ") as caught:
        getattr(schedules, name)(**given)
    for key, value in given.items():
        assert f"{key}={value}" in str(caught.value)


@pytest.mark.parametrize("table", [[], [0.5], [0.5, 0.6], [1.0, 0.5], [0.5, -0.1], [0.5, math.nan]])
@pytest.mark.parametrize("zero", [False, True])
def test_impossible_tables_are_refused(table: list[float], zero: bool) -> None:
    with pytest.raises(ValueError, match="alphas_cumprod must be a falling list"):
        schedules.discrete(alphas_cumprod=table, zero_terminal_snr=zero)


WILD = (0.0, -1.0, 1e-320, 1e-9, 0.001, 0.5, 1.0, 1 + 1e-15, 3.0, 99.0, 1e6, 1e300, math.inf, math.nan)
ARGUMENTS = {
    "flow": ("shift",),
    "cosine": ("s",),
    "sigmoid": ("start", "end", "tau"),
    "edm": ("sigma_min", "sigma_max", "rho"),
    "linear": ("beta_start", "beta_end"),
    "scaled_linear": ("beta_start", "beta_end"),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_any_arguments_give_a_schedule_or_a_value_error(name: str) -> None:
    """What is let through is finite, falls and can be inverted: no argument ends in an overflow later."""
    t = torch.linspace(0.01, 0.99, 33, dtype=torch.float64)
    made = 0
    for values in product(WILD, repeat=len(ARGUMENTS[name])):
        try:
            schedule = getattr(schedules, name)(**dict(zip(ARGUMENTS[name], values, strict=True)))
        except ValueError:
            continue
        made += 1
        snr = schedule.log_snr(t)
        assert torch.isfinite(snr).all(), values
        assert bool((snr.diff() < 0).all()), values
        assert all(torch.isfinite(part).all() for part in schedule(t)), values
        torch.testing.assert_close(schedule.inverse(snr), t, atol=1e-5, rtol=0, msg=str(values))
    assert made >= 4
