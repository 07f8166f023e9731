"""Small nonlinear networks, deterministic, that react to everything that they are given."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from multigen.core import Backbone, Cond


class Tiny(Backbone):
    """F(x, c_noise, cond) of any number of axes: a tanh of neighbours, noise level and conditions. Counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        self.batches.append(len(x))
        shape = (-1, *[1] * (x.ndim - 1))
        shift = torch.sin(c_noise / 5).reshape(shape)
        if cond.vector is not None:
            shift = shift + cond.vector.sum(1).reshape(shape)
        if cond.tokens is not None and cond.mask is not None:
            weight = cond.mask.to(x.dtype)
            mean = (cond.tokens.sum(2) * weight).sum(1) / weight.sum(1)
            shift = shift + mean.reshape(shape)
        if cond.grid is not None:
            shift = shift + cond.grid.sum(1, keepdim=True)
        return torch.tanh(0.8 * x + 0.3 * x.roll(1, -1) - 0.2 * x.roll(1, 1) + shift)


class Same(Backbone):
    """F = x, for tests that need any network."""

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        return x


class InDouble(Backbone):
    """A network computed in float64 and answering in the dtype of x.

    In fp32 a network rounds otherwise in another batch, on another processor and with other threads, and a sampler
    enlarges that, by hundreds where an untrained network does not contract. In float64 the answer rounds to
    the same fp32 whatever the batch, so that what differs still is a fault of what stands around the network.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.inner = copy.deepcopy(network).double()

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, **more: object) -> Tensor:
        cond = cond.map(lambda part: part.double() if part.is_floating_point() else part)
        return self.inner(x.double(), c_noise.double(), cond, **more).to(x.dtype)
