"""Train and sample a 2-D toy with `multigen.core` alone: points on a ring.

The network is an MLP, the data are [B, 2] tensors, and nothing else of multigen is imported.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from multigen.core import Backbone, Cond, Denoiser, Noise, plain, solve
from multigen.core.noise import normal, uniform
from multigen.core.predictions import v
from multigen.core.samplers import dpmpp_2m
from multigen.core.schedules import cosine
from multigen.core.timesteps import uniform as uniform_grid


class MLP(Backbone):
    """F(x [B, 2], c_noise [B], cond) -> [B, 2]."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2)
        )

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """`c_noise` is the log-SNR, within ±20."""
        return self.layers(torch.cat([x, c_noise[:, None] / 10], dim=1))


def ring(step: int, batch: int) -> Tensor:
    """Points at distance 1 from the origin, [B, 2]; the same for the same step."""
    angle = 2 * math.pi * uniform([batch], 0, "ring", step)
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def main(steps: int = 2000, n: int = 1000) -> Tensor:
    """Distances of `n` samples from the origin, [n]; 1 on the ring."""
    torch.manual_seed(0)
    denoiser = Denoiser(MLP(), cosine(), v())
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=2e-3)
    for step in range(steps):
        x0, eps = ring(step, 256), normal([256, 2], 0, "eps", step)
        loss = denoiser.loss(x0, uniform([256], 0, "t", step), Cond(), eps).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    noise = Noise(range(n), [2])
    trajectory = dpmpp_2m(denoiser.schedule, noise("start"), uniform_grid(denoiser.schedule, 20), noise)
    return solve(trajectory, plain(Cond(), Cond()), denoiser).norm(dim=1)


if __name__ == "__main__":
    distances = main()
    print(f"distance from the origin: {distances.mean():.3f} ± {distances.std():.3f}; on the ring it is 1")
