"""Convolutions with fewer products are the same convolutions, and give way where something learns or transforms."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from multigen.backbones.unet import UNet
from multigen.backbones.winograd import Conv, convolve, held, matrices
from multigen.core.conditioning import Cond, CondSpec


@pytest.mark.parametrize("size", [(8, 8), (7, 13), (16, 5), (34, 3)])
def test_it_is_the_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 96, *size)
    weight, bias = torch.randn(80, 96, 3, 3) / (9 * 96) ** 0.5, torch.randn(80)
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    assert (convolve(x, held(weight), bias) - exact).abs().max() < 2e-5
    plain = F.conv2d(x.double(), weight.double(), padding=1)
    assert (convolve(x, held(weight), None) - plain).abs().max() < 2e-5


def test_the_algorithm_is_exact_but_for_rounding() -> None:
    into, kernel, back = matrices()
    d, g = torch.randn(6, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
    wanted = torch.stack([(d[i : i + 3] * g).sum() for i in range(4)])
    torch.testing.assert_close(back @ ((kernel @ g) * (into @ d)), wanted, rtol=1e-12, atol=1e-12)


def layer() -> Conv:
    torch.manual_seed(0)
    return Conv(96, 96, (3, 3))


def test_a_changed_weight_is_noticed() -> None:
    conv, x = layer(), torch.randn(1, 96, 8, 8)
    with torch.no_grad():
        before = conv(x)
        assert conv._held is not None
        conv.weight.mul_(2)  # as an optimizer does
        assert (conv(x) - F.conv2d(x, conv.weight, conv.bias, padding=1)).abs().max() < 2e-5
        shadow = torch.randn_like(conv.weight) / 30
        conv.weight.data, shadow = shadow, conv.weight.data  # as an average takes turns
        assert (conv(x) - F.conv2d(x, conv.weight, conv.bias, padding=1)).abs().max() < 2e-5
        twin = copy.deepcopy(conv)
        twin.weight.zero_()
        assert twin(x).abs().max() == conv.bias.abs().max()
        assert not torch.equal(before, conv(x))


def test_it_gives_way_to_gradients_and_to_derivatives_forwards() -> None:
    conv, x, v = layer(), torch.randn(1, 96, 8, 8), torch.randn(1, 96, 8, 8)
    conv(x).square().sum().backward()
    assert conv._held is None and conv.weight.grad is not None
    with torch.no_grad():
        _, slope = torch.func.jvp(conv, (x,), (v,))
        assert conv._held is None
        torch.testing.assert_close(slope, F.conv2d(v, conv.weight, padding=1), rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert conv(x).dtype == torch.bfloat16
        assert conv._held is None


@pytest.mark.parametrize(("axes", "size"), [(1, (40,)), (2, (18, 24)), (3, (3, 16, 16))])
def test_a_network_says_the_same_with_and_without_gradients(axes: int, size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    spec = CondSpec(vector=4, tokens=6)
    net = UNet(axes=axes, channels=2, out_channels=2, cond=spec, widths=(96, 96), blocks=1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    cond = Cond(
        vector=torch.randn(3, 4), tokens=torch.randn(3, 5, 6), mask=torch.ones(3, 5, dtype=torch.bool)
    )
    x, c_noise = torch.randn(3, 2, *size), torch.tensor([-3.0, 0.0, 5.0])
    learns = net(x, c_noise, cond)
    with torch.no_grad():
        samples = net(x, c_noise, cond)
        alone = torch.cat([net(x[i : i + 1], c_noise[i : i + 1], cond[i : i + 1]) for i in range(3)])
    assert learns.std() > 0.01
    torch.testing.assert_close(samples, learns, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(alone, samples, rtol=1e-4, atol=1e-5)
