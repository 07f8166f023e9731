"""Noise levels and objectives against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from multigen.core import Denoiser, predictions, schedules
from multigen.training import objectives
from multigen.training.ema import EMA
from tests.core.networks import Same

U = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000


def test_log_normal_has_its_mean_and_deviation() -> None:
    schedule = schedules.edm(sigma_min=1e-4, sigma_max=1e4)
    t = objectives.log_normal(schedule, U, mean=-0.6, std=1.2)
    log_sigma = schedule(t).sigma.log()
    assert log_sigma.mean().item() == pytest.approx(-0.6, abs=1e-3)
    assert log_sigma.std().item() == pytest.approx(1.2, abs=5e-3)


def test_logit_normal_is_log_normal_for_flow() -> None:
    schedule = schedules.flow()
    a, b = objectives.logit_normal(schedule, U), objectives.log_normal(schedule, U, mean=0.0, std=1.0)
    torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match="use log_normal"):
        objectives.logit_normal(schedules.edm(), U)


def test_uniform_is_in_t_or_for_ve_in_log_snr() -> None:
    assert torch.equal(objectives.uniform(schedules.cosine(), U), U)
    log_sigma = schedules.edm()(objectives.uniform(schedules.edm(), U)).sigma.log()
    gaps = log_sigma.diff()
    torch.testing.assert_close(gaps, gaps.mean().expand_as(gaps), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("scale", [-1.0, -0.4, 0.0, 0.8, 1.29, 1.75])
def test_mode_is_the_papers_and_has_its_density(scale: float) -> None:
    """Esser et al. 2024, eq. 20, and the density |d f^-1 / dt| of its values for uniform u."""
    t = objectives.mode(schedules.flow(), U, scale=scale)
    paper = 1 - U - scale * (torch.cos(math.pi / 2 * U).square() - 1 + U)
    torch.testing.assert_close(t, paper.flip(0))  # the same values: U is symmetric
    assert bool((t.diff() >= 0).all()) and t[0] >= 0 and t[-1] <= 1  # a quantile function
    edges = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
    low, high = torch.zeros(10, dtype=torch.float64), torch.ones(10, dtype=torch.float64)
    for _ in range(60):  # f falls: its inverse by bisection
        middle = (low + high) / 2
        above = 1 - middle - scale * (torch.cos(math.pi / 2 * middle).square() - 1 + middle) > edges
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    shares = torch.histc(t.float(), 9, 0.05, 0.95) / len(t)
    torch.testing.assert_close(shares.double(), (low[:-1] - low[1:]), atol=1e-3, rtol=0.0)


def test_mode_refuses_what_is_no_quantile_function() -> None:
    with pytest.raises(ValueError, match=r"scale 1\.8 is not allowed. Allowed: -1 to 1\.7519"):
        objectives.mode(schedules.flow(), U, scale=1.8)
    with pytest.raises(ValueError, match="use log_normal"):
        objectives.mode(schedules.edm(), U)


def denoiser(schedule: schedules.Schedule, prediction: predictions.Prediction) -> Denoiser:
    return Denoiser(Same(), schedule, prediction)


def test_edm_weight_is_flat_for_edm_on_ve() -> None:
    d = denoiser(schedules.edm(), predictions.edm(sigma_data=0.5))
    torch.testing.assert_close(objectives.edm(d, U), torch.ones_like(U))


def test_velocity_is_flat_for_flow_until_it_is_clipped() -> None:
    schedule = schedules.flow()
    flow = objectives.velocity(denoiser(schedule, predictions.flow()), U, least=1e-6)
    torch.testing.assert_close(flow, torch.ones_like(U))
    x0 = objectives.velocity(denoiser(schedule, predictions.x0()), U, least=0.1)
    torch.testing.assert_close(x0, 1 / U.clamp(min=0.1).square())


def test_min_snr_closed_forms() -> None:
    """Hang et al. 2023, section 3.4: eps min(gamma/SNR, 1); v min(SNR, gamma)/(SNR + 1) on VP."""
    schedule = schedules.linear()
    snr = torch.exp(schedule.log_snr(U))
    eps = objectives.min_snr(denoiser(schedule, predictions.eps()), U, gamma=5.0)
    torch.testing.assert_close(eps, (5 / snr).clamp(max=1))
    v = objectives.min_snr(denoiser(schedule, predictions.v()), U, gamma=5.0)
    torch.testing.assert_close(v, snr.clamp(max=5) / (snr + 1))
    x0 = objectives.min_snr(denoiser(schedule, predictions.x0()), U, gamma=5.0)
    torch.testing.assert_close(x0, snr.clamp(max=5))


def test_ema_equals_the_closed_form() -> None:
    p = nn.Parameter(torch.tensor([0.0], dtype=torch.float64))
    ema = EMA({"p": p}, decay=0.5)
    expected = 0.0
    for step in range(1, 30):
        p.data.fill_(float(step))
        ema.update(step)
        d = min(0.5, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * step
    assert ema.shadow["p"].item() == pytest.approx(expected)
    with ema.applied():
        assert p.item() == pytest.approx(expected)
    assert p.item() == 29
    assert math.isclose(ema.shadow["p"].item(), expected)
