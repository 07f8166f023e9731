"""A training loop of your own on your own tensors: multigen's U-Net and loss, your optimizer and your data.

The data are soft discs, [B, 1, 16, 16] in [-1, 1]; any tensor of that form will do.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.backbones.unet import UNet
from multigen.core import Cond, CondSpec, Denoiser, Noise, plain, solve
from multigen.core.noise import normal, uniform
from multigen.core.predictions import v
from multigen.core.samplers import heun
from multigen.core.schedules import flow
from multigen.core.timesteps import uniform as uniform_grid


def discs(step: int, batch: int) -> Tensor:
    """Discs of radius 4 at random places, white on black."""
    place = 5 + 6 * uniform([batch, 2, 1, 1], 0, "place", step)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    distance = ((y - place[:, :1]) ** 2 + (x - place[:, 1:]) ** 2).sqrt()
    return (2 * (4.5 - distance)).clamp(-1, 1)


def train(steps: int, batch: int = 32) -> Denoiser:
    """A small U-Net after `steps` steps of AdamW."""
    torch.manual_seed(0)
    backbone = UNet(axes=2, channels=1, out_channels=1, cond=CondSpec(), widths=(16, 32), blocks=1)
    denoiser = Denoiser(backbone, flow(), v())
    optimizer = torch.optim.AdamW(denoiser.parameters(), lr=2e-3)
    for step in range(steps):
        x0, eps = discs(step, batch), normal([batch, 1, 16, 16], 0, "eps", step)
        loss = denoiser.loss(x0, uniform([batch], 0, "t", step), Cond(), eps).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return denoiser.eval()


def main(steps: int = 400, n: int = 16) -> Tensor:
    """Samples [n, 1, 16, 16] of the trained network."""
    denoiser = train(steps)
    noise = Noise(range(n), [1, 16, 16])
    trajectory = heun(denoiser.schedule, noise("start"), uniform_grid(denoiser.schedule, 12), noise)
    return solve(trajectory, plain(Cond(), Cond()), denoiser)


if __name__ == "__main__":
    area = (main() > 0).float().sum((1, 2, 3))
    print(f"white pixels in a sample: {area.mean():.1f} ± {area.std():.1f}; a disc of the data has about 64")
