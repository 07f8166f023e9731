"""Networks that were trained on a table get its index, whatever the grid; grids that end at its first entry."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from multigen.core import Backbone, Cond, Denoiser, plain, predictions, samplers, schedules, solve, timesteps
from multigen.core.noise import normal

TABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


class ByIndex(Backbone):
    """Records the noise levels that it is called with."""

    c_noise = "index"

    def __init__(self) -> None:
        super().__init__()
        self.indices: list[float] = []

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        self.indices += c_noise.tolist()
        return torch.tanh(x * (1 + c_noise.view(-1, 1, 1, 1) / 1000))


def none(purpose: str, index: int) -> Tensor:
    raise AssertionError("no noise is drawn here")


@pytest.mark.parametrize("steps", [10, 30, 50])
def test_ddim_ends_where_diffusers_does_and_the_network_gets_the_same_indices(steps: int) -> None:
    schedule, network = schedules.scaled_linear(), ByIndex()
    ts = timesteps.leading(schedule, steps, offset=1, to_zero=False)
    x = normal((2, 4, 8, 8), 5, "start")
    start = x * schedule(ts[:1]).sigma.float()
    denoiser = Denoiser(network, schedule, predictions.eps())
    ours = solve(samplers.ddim(schedule, start, ts, none), plain(Cond(), Cond()), denoiser)
    scheduler = DDIMScheduler(**TABLE, clip_sample=False, steps_offset=1, set_alpha_to_one=False)
    scheduler.set_timesteps(steps)
    assert [int(i) for i in network.indices[::2]] == scheduler.timesteps.tolist()
    assert all(i == int(i) for i in network.indices)
    y = start
    for t in scheduler.timesteps:
        y = scheduler.step(ByIndex()(y, t.float().expand(2), Cond()), t, y).prev_sample
    assert y.std() > 0.1
    # x0 reaches 30, as eps is divided by an alpha of 0.07: fp32 on both sides differs by 2e-5. An end at the data
    # itself differs by 3e-2, a network told the next index by 7e-4.
    torch.testing.assert_close(ours, y, rtol=0, atol=2.5e-4)


def test_the_index_is_that_of_the_noise_level() -> None:
    plain_, shifted = schedules.scaled_linear(), schedules.scaled_linear(shift=2.0)
    t = torch.linspace(0.05, 0.8, 7, dtype=torch.float64)
    same_level = plain_.inverse(shifted.log_snr(t))
    torch.testing.assert_close(shifted.index(t), plain_.index(same_level), rtol=0, atol=1e-8)
    assert (shifted.index(t) > plain_.index(t) + 10).all()
    ends = torch.tensor([0.0, 1e-6, 1.0], dtype=torch.float64)
    assert plain_.index(ends).tolist() == [0.0, 0.0, 999.0]
    assert schedules.scaled_linear(zero_terminal_snr=True).index(ends)[2] == 999.0


def test_a_training_loss_tells_the_index_too() -> None:
    network = ByIndex()
    denoiser = Denoiser(network, schedules.linear(), predictions.eps())
    x = normal((2, 4, 8, 8), 5, "start")
    denoiser.loss(x, torch.tensor([0.5, 0.001], dtype=torch.float64), Cond(), x)
    assert network.indices == [499.0, 0.0]


def test_a_schedule_without_a_table_and_an_end_that_is_no_step_are_refused() -> None:
    denoiser = Denoiser(ByIndex(), schedules.flow(), predictions.flow())
    with pytest.raises(ValueError, match="index of a table.*scaled_linear"):
        denoiser.remember(torch.tensor([0.5], dtype=torch.float64))
    with pytest.raises(ValueError, match="offset of 1 or more"):
        timesteps.leading(schedules.linear(), 10, to_zero=False)
