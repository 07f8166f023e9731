"""Weights held in half precision compute what autocast computes, and follow the weights."""

from __future__ import annotations

import copy

import torch
from torch import nn

from multigen.backbones.unet import UNet
from multigen.core import Cond, Denoiser, predictions, schedules
from multigen.core.conditioning import CondSpec
from multigen.core.held import HeldWeights


def denoiser(precision: torch.dtype | None) -> Denoiser:
    torch.manual_seed(0)
    net = UNet(axes=2, channels=2, out_channels=2, cond=CondSpec(), widths=(8, 16), blocks=1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return Denoiser(net, schedules.flow(), predictions.flow(), precision=precision)


X, T = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.full((2,), 0.5)


def test_it_is_autocast_to_the_bit_and_near_fp32() -> None:
    half, full = denoiser(torch.bfloat16), denoiser(None)
    autocast = half(X, T, Cond())  # with gradients nothing is held
    assert half._held is None
    with torch.no_grad():
        held = half(X, T, Cond())
        assert half._held is not None
        assert torch.equal(held, autocast.detach())
        assert 0 < (held - full(X, T, Cond())).abs().max() < 0.05


def test_casts_once_and_again_where_a_weight_changed() -> None:
    d = denoiser(torch.bfloat16)
    with torch.no_grad():
        d(X, T, Cond())
        assert d._held is not None
        before = dict(d._held._copies)
        assert {w.dtype for w in before.values()} == {torch.bfloat16}
        d(X, T, Cond())
        assert all(d._held._copies[name] is w for name, w in before.items())
        d.backbone.get_parameter("enter.weight").mul_(2)
        d(X, T, Cond())
        changed = {name for name, w in before.items() if d._held._copies[name] is not w}
        assert changed == {"enter.weight"}
        twin = copy.deepcopy(d)
        twin.backbone.get_parameter("enter.weight").zero_()
        assert not torch.equal(twin(X, T, Cond()), d(X, T, Cond()))


def test_norms_and_weights_that_are_not_fp32_stay() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4).double())
    assert HeldWeights(net, torch.bfloat16)._weights(torch.device("cpu")).keys() == {"0.weight", "0.bias"}
    assert not HeldWeights(net, torch.bfloat16)._weights(torch.device("meta"))
