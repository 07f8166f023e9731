"""Samplers against the exact solution: orders of convergence, statistics, both ends."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigen.core import (
    Cond,
    Denoiser,
    Noise,
    Sampling,
    Schedule,
    drive,
    plain,
    predictions,
    samplers,
    schedules,
    solve,
    timesteps,
)
from multigen.core.noise import normal
from multigen.parts import BUILTIN
from tests.core.gaussians import Mixture
from tests.core.networks import Tiny

SCHEDULES: dict[str, Schedule] = {
    "cosine": schedules.cosine(),
    "linear": schedules.linear(),
    "edm": schedules.edm(),
    "flow": schedules.flow(),
}
SAMPLERS: dict[str, Callable[..., samplers.Trajectory]] = {
    name: getattr(samplers, name) for name in BUILTIN["sampler"]
}
# With the first-order ends of multistep methods; the orders between them are measured further down.
ORDERS = {"ddim": 1, "euler": 1, "heun": 2, "dpmpp_2m": 2, "unipc": 2, "ipndm": 2}


def no_noise(purpose: str, index: int) -> Tensor:
    raise AssertionError("a deterministic sampler asked for noise")


def run(
    name: str,
    schedule: Schedule,
    x: Tensor,
    ts: Tensor,
    network: nn.Module,
    noise: Any = no_noise,
    **options: float,
) -> Tensor:
    """The sample of x [B, ...]; where a trajectory takes one sample, of a trajectory for each row, driven together."""
    parts = x.split(1) if samplers.sampler_traits(SAMPLERS[name]).one_sample else [x]
    requests = [
        Sampling(SAMPLERS[name](schedule, part, ts, noise, **options), plain(Cond(), Cond()), network)  # type: ignore[arg-type]
        for part in parts
    ]
    for _ in drive(requests, max_batch=2**31):
        pass
    return torch.cat([request.sample for request in requests if request.sample is not None])


def test_samplers_declare_who_walks_their_steps_without_noise() -> None:
    """Each name is a sampler that draws no noise; samplers that declare none draw none either, and keep theirs."""
    x = torch.randn(1, 2, generator=torch.Generator().manual_seed(0))
    schedule = schedules.flow()
    ts, network = timesteps.uniform(schedule, 6), Mixture(schedule, means=((-1.0, 0.0), (0.8, 0.1)))
    declared = {name: samplers.sampler_traits(s).deterministic for name, s in SAMPLERS.items()}
    assert declared["edm"] == "heun" and declared["heun"] is None
    for name, other in declared.items():
        assert other is None or samplers.sampler_traits(SAMPLERS[other]).deterministic in (None, other)
        assert torch.isfinite(run(other or name, schedule, x, ts, network)).all()


def test_traits_are_found_behind_bound_arguments_and_of_samplers_that_declare_none() -> None:
    bound = functools.partial(functools.partial(samplers.adaptive, tolerance=0.1), budget=9)
    assert samplers.sampler_traits(bound).one_sample

    @samplers.one_sample
    @samplers.stochastic(deterministic="euler")
    def both(*_: Any) -> samplers.Trajectory:
        raise NotImplementedError

    assert samplers.sampler_traits(both) == samplers.SamplerTraits(one_sample=True, deterministic="euler")
    assert samplers.sampler_traits(lambda *_: None) == samplers.SamplerTraits()


def quantiles(mixture: Mixture, t: float) -> Tensor:
    """Nine x_t [9, 1], spread over the distribution at t."""
    alpha, sigma = mixture.schedule(torch.tensor([t], dtype=torch.float64))
    return (alpha * mixture.mean + torch.linspace(-1.5, 1.5, 9, dtype=torch.float64) * (alpha + sigma))[
        :, None
    ]


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(name: str, kind: str) -> None:
    """The error against the exact flow falls as steps^-order, on an inner interval (sigma/alpha from 4 to 0.1)."""
    schedule = SCHEDULES[kind]
    mixture = Mixture(schedule)
    start, end = schedule.inverse(-2 * torch.log(torch.tensor([4.0, 0.1], dtype=torch.float64))).tolist()
    x = quantiles(mixture, start)
    exact = mixture.flow(x, start, end)
    counts = [64, 128, 256, 512]
    errors = []
    for n in counts:
        # Even in log-SNR: smooth for all, also where a table's slope in t jumps at its indices.
        snr = torch.linspace(*schedule.log_snr(torch.tensor([start, end]).double()).tolist(), n + 1)
        ts = schedule.inverse(snr.double())
        errors.append((run(name, schedule, x, ts, mixture) - exact).abs().max().item())
    assert fitted_order(counts, errors) == pytest.approx(ORDERS[name], abs=0.12), errors
    assert errors[-1] < (2e-2 if ORDERS[name] == 1 else 2e-4)


def fitted_order(counts: list[int], errors: list[float]) -> float:
    """Least-squares slope of log(error) over -log(count)."""
    logs, sizes = torch.tensor(errors).log(), torch.tensor(counts, dtype=torch.float32).log()
    sizes = sizes - sizes.mean()
    return -((sizes * (logs - logs.mean())).sum() / sizes.square().sum()).item()


def test_the_flow_is_exact_where_it_is_known_in_closed_form() -> None:
    """One Gaussian: x_s = alpha_s m + (x_t - alpha_t m) sqrt(var_s / var_t). It guards the truth itself."""
    schedule = schedules.cosine()
    mixture = Mixture(schedule, (1.0,), ((0.5,),), (0.3,))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    (at, as_), (st, ss) = (c.tolist() for c in schedule(torch.tensor([0.8, 0.2], dtype=torch.float64)))
    exact = as_ * 0.5 + (x - at * 0.5) * math.sqrt((as_**2 * 0.09 + ss**2) / (at**2 * 0.09 + st**2))
    torch.testing.assert_close(mixture.flow(x, 0.8, 0.2), exact, atol=1e-12, rtol=0)


ENDS: dict[str, Schedule] = {
    **SCHEDULES,
    "sigmoid": schedules.sigmoid(),
    "zero_terminal": schedules.scaled_linear(zero_terminal_snr=True),
    "flow_shift": schedules.flow(shift=2.0),
}
WALKS: list[tuple[str, dict[str, float], str, int]] = [
    ("ddim", {"eta": 0.0}, "uniform", 64),
    ("ddim", {"eta": 0.4}, "uniform", 64),
    ("ddim", {"eta": 1.0}, "uniform", 128),
    ("ddpm", {}, "uniform", 128),
    ("euler_ancestral", {}, "uniform", 128),
    ("heun", {}, "uniform", 32),
    ("heun", {}, "karras", 32),
    ("dpmpp_2m", {}, "uniform", 48),
    ("dpmpp_2m", {}, "karras", 32),
    ("dpmpp_2m_sde", {}, "karras", 48),
    ("dpmpp_2m_sde", {"eta": 0.5}, "karras", 32),
    ("unipc", {"order": 1}, "karras", 32),
    ("unipc", {"order": 3}, "uniform", 48),
    ("ipndm", {}, "uniform", 48),
    ("edm", {"churn": 8.0}, "karras", 32),
    ("edm", {"churn": 30.0, "churn_low": 0.0, "churn_high": 1e9}, "karras", 64),
    ("restart", {}, "karras", 32),
    ("restart", {"low": 0.3, "high": 5.0, "steps": 12, "repeats": 3}, "karras", 32),
]


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize(("name", "options", "grid", "steps"), WALKS)
def test_statistics_from_pure_noise_to_the_data(
    name: str, options: dict[str, float], grid: str, steps: int, kind: str
) -> None:
    """Mean, variance and mixture weights of 4,000 samples, from t = 1 (alpha = 0 in five of seven) to sigma = 0."""
    schedule, count = ENDS[kind], 4000
    mixture = Mixture(schedule)
    if (
        kind == "zero_terminal"
    ):  # its sigma/alpha is 0.17 at t = 1/48 still: a last step from there blurs the modes
        grid = "karras"
    ts = getattr(timesteps, grid)(schedule, steps)
    assert ts[-1] == 0

    def noise(purpose: str, index: int) -> Tensor:
        return normal((count, 1), 7, purpose, index).double()

    sigma = schedule(ts[:1]).sigma
    x = run(name, schedule, sigma * noise("start", 0), ts, mixture, noise, **options)
    assert bool(torch.isfinite(x).all())
    share, mean, variance = mixture.share(x), x.mean().item(), x.var().item()
    # Three standard errors of 4,000 samples are 0.022 (weight), 0.041 (mean), 0.035 (variance); 0.01 for the steps.
    assert share[0].item() == pytest.approx(mixture.weights[0].item(), abs=0.03)
    assert mean == pytest.approx(mixture.mean.item(), abs=0.05)
    assert variance == pytest.approx(mixture.covariance.item(), abs=0.045)
    for k, std in enumerate(mixture.stds.tolist()):
        one = x[torch.cdist(x, mixture.means).argmin(1) == k]
        assert one.std().item() == pytest.approx(std, rel=0.12)


@pytest.mark.parametrize(
    "name", ["ddim", "heun", "dpmpp_2m", "ddpm", "dpmpp_2m_sde", "unipc", "edm", "restart"]
)
def test_two_axes_keep_means_covariance_and_weights(name: str) -> None:
    schedule, count = schedules.flow(), 4000
    mixture = Mixture(schedule, (0.2, 0.3, 0.5), ((-1.0, 0.5), (1.0, 1.0), (0.2, -1.0)), (0.2, 0.15, 0.25))

    def noise(purpose: str, index: int) -> Tensor:
        return normal((count, 2), 3, purpose, index).double()

    x = run(name, schedule, noise("start", 0), timesteps.uniform(schedule, 80), mixture, noise)
    torch.testing.assert_close(mixture.share(x).double(), mixture.weights, atol=0.03, rtol=0)
    torch.testing.assert_close(x.mean(0), mixture.mean, atol=0.05, rtol=0)
    torch.testing.assert_close(torch.cov(x.T), mixture.covariance, atol=0.05, rtol=0)


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m", "euler", "unipc", "ipndm", "adaptive"])
@pytest.mark.parametrize("kind", ["cosine", "flow", "zero_terminal", "edm"])
def test_deterministic_samplers_from_pure_noise_follow_the_exact_flow(name: str, kind: str) -> None:
    """Sample by sample, not on average: from t = 1 the flow is the quantile map of noise onto data."""
    schedule = ENDS[kind]
    mixture = Mixture(schedule)
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None]
    ts = timesteps.karras(schedule, 400)
    sample = run(name, schedule, schedule(ts[:1]).sigma * x, ts, mixture)
    quantile = torch.special.ndtr(x[:, 0])
    error = (mixture.cdf(sample[:, 0], 0.0) - quantile).abs().max()
    assert error < 0.02, error


def test_heun_is_second_order_from_alpha_zero_on_flow() -> None:
    """Flow's slope eps - x0 is finite at t = 1, so its first step need not be of first order."""
    schedule = schedules.flow()
    mixture = Mixture(schedule)
    x = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64)[:, None]
    high = torch.linspace(1, 0.5, 1025, dtype=torch.float64)
    exact = run("heun", schedule, x, high, mixture)
    errors = [
        (run("heun", schedule, x, torch.linspace(1, 0.5, n + 1, dtype=torch.float64), mixture) - exact)
        .abs()
        .max()
        for n in (8, 16)
    ]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("kind", ENDS)
def test_every_grid_ends_finite(sampler: str, kind: str) -> None:
    """tests/test_combinations.py runs every sampler, schedule, prediction and modality."""
    schedule = ENDS[kind]
    denoiser = Denoiser(Tiny(), schedule, predictions.v())
    names = ["uniform", "karras", "exponential", "log_snr", "quadratic", "beta"]
    for grid in names + (["trailing", "leading"] if schedule.steps else []):
        for steps in (1, 2, 5):
            ts = getattr(timesteps, grid)(schedule, steps)
            x = schedule(ts[:1]).sigma.float() * normal((2, 1, 6), 0, "x")
            noise = (
                Noise([1], (1, 6))
                if samplers.sampler_traits(SAMPLERS[sampler]).one_sample
                else Noise([1, 2], (1, 6))
            )
            sample = run(sampler, schedule, x, ts, denoiser, noise)
            assert sample.shape == x.shape
            assert sample.dtype == torch.float32
            assert bool(torch.isfinite(sample).all()), (grid, steps)


def test_transfer_and_renoise_move_the_marginals() -> None:
    """Up by renoise and down by transfer with eta, noise of known variance stays at sigma² (x0 = 0)."""
    schedule = schedules.cosine()
    t, s = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)
    _, (st, ss) = (c.tolist() for c in schedule(torch.stack([t, s])))
    first, second = normal((2, 200_000), 5, "noise").double()
    up = samplers.renoise(schedule, ss * first, s, t, second)
    assert up.std().item() == pytest.approx(st, rel=0.01)
    for eta in (0.0, 0.5, 1.0):
        down = samplers.transfer(schedule, st * first, torch.zeros_like(first), t, s, eta, second)
        assert down.std().item() == pytest.approx(ss, rel=0.01)
    x0 = torch.full_like(first, 2.0)
    clean = samplers.transfer(schedule, up, x0, t, torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(clean, x0, atol=0, rtol=0)


def test_samplers_do_not_write_into_what_they_were_given() -> None:
    schedule = schedules.flow()
    for name, sampler in SAMPLERS.items():
        x = torch.ones(1, 3)
        seen, sent = [], []
        trajectory = sampler(
            schedule, x, timesteps.uniform(schedule, 4), lambda p, i: normal((1, 3), 0, p, i)
        )
        query = next(trajectory)
        for i in range(200):
            seen.append((query.x, query.x.clone()))
            sent.append((answer := torch.full((1, 3), float(i)), answer.clone()))
            try:
                query = trajectory.send(answer)
            except StopIteration:
                break
        else:
            pytest.fail(f"{name} does not end")
        for kept, copy in seen + sent:
            torch.testing.assert_close(kept, copy, atol=0, rtol=0)


@pytest.mark.parametrize("kind", SCHEDULES)
def test_polish_takes_away_what_the_denoiser_holds_for_noise(kind: str) -> None:
    """Of N(m, s²) the exact denoiser draws alpha x to m by s²/(s² + r²), r = sigma/alpha: so does every pass."""
    schedule, m, s, r = SCHEDULES[kind], 0.4, 0.5, 0.25
    mixture = Mixture(schedule, weights=(1.0,), means=((m,),), stds=(s,))
    x = torch.tensor([[-1.0], [0.4], [2.0]], dtype=torch.float64)

    def done() -> samplers.Trajectory:
        yield from ()
        return x

    for passes in (0, 1, 3):
        polished = samplers.polish(done(), schedule, passes=passes, noise=r)
        made = solve(polished, plain(Cond(), Cond()), mixture)  # type: ignore[arg-type]
        torch.testing.assert_close(made, m + (x - m) * (s**2 / (s**2 + r**2)) ** passes)


def test_polish_wants_a_level_of_the_schedule() -> None:
    schedule = schedules.edm(sigma_min=0.02, sigma_max=40.0)
    t = samplers.polish_time(schedule, 0.5).reshape(1)
    alpha, sigma = schedule(t)
    assert float(sigma / alpha) == pytest.approx(0.5)
    for noise in (0.01, 100.0):
        with pytest.raises(
            ValueError, match=f"{noise:g} is no sigma/alpha of this schedule. Allowed: 0.02 to 40"
        ):
            samplers.polish_time(schedule, noise)


def test_mistakes_are_refused() -> None:
    schedule, x = schedules.flow(), torch.zeros(1, 1)
    with pytest.raises(ValueError, match=r"eta .* \[0, 1\], not 1.5"):
        next(samplers.ddim(schedule, x, timesteps.uniform(schedule, 2), no_noise, eta=1.5))
    for name, options, words in (
        ("dpmpp_2m_sde", {"eta": -0.1}, "eta .* 0 or more, not -0.1"),
        ("unipc", {"order": 4}, "order is 1, 2 or 3, not 4"),
        ("ipndm", {"order": 0}, "order is 1, 2, 3 or 4, not 0"),
        ("edm", {"churn": -1.0}, "churn >= 0.*churn=-1.0"),
        ("edm", {"churn_low": 2.0, "churn_high": 1.0}, "churn_low <= churn_high"),
        ("restart", {"low": 0.5, "high": 0.2}, "0 < low < high.*low=0.5, high=0.2"),
        ("restart", {"steps": 0}, "steps >= 1"),
        ("adaptive", {"tolerance": 0.0}, "tolerance is a number above 0, not 0.0"),
        ("adaptive", {"budget": 4}, "budget is 5 queries or more, not 4"),
    ):
        with pytest.raises(ValueError, match=f"sampler {name}.*{words}"):
            next(SAMPLERS[name](schedule, x, timesteps.uniform(schedule, 2), no_noise, **options))
    for sampler in SAMPLERS.values():
        trajectory = sampler(schedule, x, torch.tensor([0.0, 0.5], dtype=torch.float64), no_noise)
        with pytest.raises(ValueError, match="cannot step from sigma = 0"):
            next(trajectory)
