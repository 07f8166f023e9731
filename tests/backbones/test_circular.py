"""Networks that take samples as circles: a sample that is turned gives the same answer, turned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import multigen
from multigen.backbones.circular import circular
from multigen.backbones.unet import UNet
from multigen.backbones.winograd import Conv
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond, CondSpec
from multigen.generation.parts import encode_prompts
from tests.model.pipelines import tiny_pipeline


def net(axes: int, width: int = 8) -> UNet:
    torch.manual_seed(0)
    network = UNet(
        axes=axes, channels=3, out_channels=3, cond=CondSpec(), widths=(width, width), blocks=1, head_width=4
    )
    with torch.no_grad():
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return network


def error(network: UNet, x: Tensor, closed: Closed, shifts: tuple[int, ...], axes: tuple[int, ...]) -> float:
    """How far the answer to a turned sample is from the turned answer."""
    with torch.no_grad():
        level = torch.zeros(len(x))
        more = {"closed": closed} if closed else {}
        there = network(x.roll(shifts, axes), level, Cond(), **more)
        return float((there - network(x, level, Cond(), **more).roll(shifts, axes)).abs().max())


@pytest.mark.parametrize(
    ("axes", "size", "turned"),
    [(1, (32,), (-1,)), (2, (16, 12), (-1, -2)), (2, (16, 12), (-2,)), (3, (3, 8, 12), (-1, -2))],
)
def test_no_column_is_a_border(axes: int, size: tuple[int, ...], turned: tuple[int, ...]) -> None:
    network, x = net(axes), torch.randn(2, 3, *size)
    shifts = (4,) * len(turned)
    assert error(network, x, Closed(turned), shifts, turned) < 1e-4
    assert error(network, x, OPEN, shifts, turned) > 0.01


def test_with_fewer_products_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wide layers take Winograd's way on a CPU; with gradients they take the plain one."""
    network, x = net(2, 96), torch.randn(1, 3, 16, 16)
    ways: list[int] = []
    few = Conv._few_products
    monkeypatch.setattr(Conv, "_few_products", lambda *a: (ways.append(1), few(*a))[1])
    closed = Closed((-1, -2))
    assert error(network, x, closed, (4, 6), (-1, -2)) < 1e-3
    assert ways
    with torch.no_grad():
        fast = network(x, torch.zeros(1), Cond(), closed=closed)
    plain = network(x, torch.zeros(1), Cond(), closed=closed)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-3)


def test_a_globe_goes_on_beyond_its_poles() -> None:
    """Half a turn around the axis, as any turn; and what lies at a pole sees what lies behind it."""
    network, x = net(2), torch.randn(1, 3, 8, 16)
    globe = Closed((-1,), poles=True)
    assert error(network, x, globe, (6,), (-1,)) < 1e-4
    with torch.no_grad():
        before = network(x, torch.zeros(1), Cond(), closed=globe)
        behind = x.clone()
        behind[..., 0, 8] += 5
        moved = (network(behind, torch.zeros(1), Cond(), closed=globe) - before).abs().amax(1)[0]
    # Convolutions alone see it first where it lies, and then half a turn away, not at the far ends of the row.
    assert moved[0, 0] > moved[0, 4]


def test_the_network_of_a_pipeline_turns_too(tmp_path: Path) -> None:
    model = multigen.load(str(tiny_pipeline(tmp_path)))
    backbone = model.denoiser.backbone
    assert backbone.closes == (-1, -2) and backbone.circle_multiple(-1) == 2
    x, cond = torch.randn(1, 4, 8, 12), encode_prompts(model, "a red apple")
    closed = Closed((-1, -2))
    with torch.no_grad():
        there = backbone(x.roll((2, 4), (-2, -1)), torch.tensor([500.0]), cond, closed=closed)
        here = backbone(x, torch.tensor([500.0]), cond, closed=closed)
        torch.testing.assert_close(there, here.roll((2, 4), (-2, -1)), rtol=0, atol=1e-4)
        # Nothing of it stays: the next call is as ever.
        plain = backbone(x, torch.tensor([500.0]), cond)
        assert (plain - here).abs().max() > 1e-3
        assert torch.equal(plain, backbone(x, torch.tensor([500.0]), cond))


@pytest.mark.parametrize("padding", [1, (1, 2), "same", "valid"])
def test_every_way_to_say_padding(padding: int | tuple[int, int] | str) -> None:
    layer = nn.Conv2d(2, 3, (3, 5), padding=padding)
    x = torch.randn(1, 2, 8, 10)
    with circular(Closed((-1, -2))):
        found = layer(x)
    said = {"same": (1, 2), "valid": (0, 0), 1: (1, 1)}
    down, right = padding if isinstance(padding, tuple) else said[padding]
    around = F.pad(x, (right, right, down, down), mode="circular")
    torch.testing.assert_close(found, F.conv2d(around, layer.weight, layer.bias))


def test_zeros_before_a_convolution_go_round_and_others_stay() -> None:
    x = torch.arange(4.0).view(1, 1, 1, 4)
    with circular(Closed((-1,))):
        assert F.pad(x, (0, 1, 0, 1))[0, 0].tolist() == [[0, 1, 2, 3, 0], [0] * 5]
        assert F.pad(x, (0, 1), value=7.0)[0, 0, 0].tolist() == [0, 1, 2, 3, 7]
        assert F.pad(x[0], (0, 1))[0, 0].tolist() == [0, 1, 2, 3, 0]
