"""Pruning: channels that do nothing go without a trace, on one, two and three axes; wrong shares are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigen.backbones import residual
from multigen.backbones.channel_groups import graph_of
from multigen.backbones.pruning import prune, widths_of
from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError

SPEC = CondSpec(vector=5, tokens=7)


def network(axes: int, **given: Any) -> UNet:
    torch.manual_seed(axes)
    settings: dict[str, Any] = {
        "widths": (16, 32, 64),
        "blocks": 1,
        "attention": (False, True, True),
        "head_width": 16,
    }
    net = UNet(axes=axes, channels=3, out_channels=3, cond=SPEC, **{**settings, **given})
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(std=0.1)
    return net.eval()


def inputs(axes: int) -> tuple[Tensor, Tensor, Cond]:
    size = {1: (24,), 2: (16, 12), 3: (3, 8, 8)}[axes]
    cond = Cond(
        vector=torch.randn(2, 5), tokens=torch.randn(2, 4, 7), mask=torch.ones(2, 4, dtype=torch.bool)
    )
    return torch.randn(2, 3, *size), torch.tensor([-3.0, 2.0]), cond


@torch.no_grad()
def silence(net: UNet) -> None:
    """Set half of the channels of every group to nothing, those of whole heads, and what reads them."""
    graph = graph_of(net)
    dead = []
    for group in graph.groups:
        blocks = torch.rand(group.width // group.block).argsort()[: group.width // group.block // 2]
        dead.append((blocks[:, None] * group.block + torch.arange(group.block)).flatten())
    for name, parameter in net.named_parameters():
        for axis, channels in enumerate(graph.axes.get(name, ())):
            start = 0
            for k in channels:
                parameter.index_fill_(axis, dead[k] + start, 0)
                start += graph.groups[k].width


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_channels_that_do_nothing_go_without_a_trace(axes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # A normalisation sees how many channels there are, whatever they do: here it scales and shifts alone.
    def affine(norm: nn.GroupNorm, x: Tensor) -> Tensor:
        return x * norm.weight[:, None, None] + norm.bias[:, None, None]

    def modulated(norm: nn.GroupNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        return affine(norm, x) * scale[:, :, None, None] + shift[:, :, None, None]

    monkeypatch.setattr(nn.GroupNorm, "forward", affine)
    monkeypatch.setattr(residual, "modulated", modulated)
    net = network(axes)
    silence(net)
    nn.init.zeros_(net.embed.noise.weight)  # its features are others: see below
    left = prune(net, 0.5, {name: p.detach().square() for name, p in net.named_parameters()})
    assert (left.widths, left.embedding) == ((8, 16, 32), 32)
    narrow = network(axes, widths=left.widths, embedding=left.embedding)
    narrow.load_state_dict(left.state)
    x, c_noise, cond = inputs(axes)
    with torch.no_grad():
        wanted, found = net(x, c_noise, cond), narrow(x, c_noise, cond)
    assert wanted.abs().amax() > 0.05
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_noise_embedding_keeps_what_it_can_with_fewer_features() -> None:
    net = network(2, widths=(32, 64), attention=(False, True))
    at = torch.linspace(-20, 20, 50)
    smooth = torch.linspace(1, 0, 16) ** 4  # of long periods, as training leaves it
    with torch.no_grad():
        net.embed.noise.weight.mul_(torch.cat([smooth, smooth]))
    left = prune(net, 0.5, {})
    narrow = network(2, widths=left.widths, embedding=left.embedding, attention=(False, True))
    narrow.load_state_dict(left.state)

    def before_activation(one: UNet) -> Tensor:
        phase = at[:, None] * one.embed.frequencies
        return one.embed.noise(torch.cat([phase.cos(), phase.sin()], dim=1))

    with torch.no_grad():  # the first rows stay where all channels count alike
        wanted, found = before_activation(net), before_activation(narrow)
    kept = [(wanted - found[:, [k]]).abs().mean(0).amin() for k in range(found.shape[1])]
    assert max(kept) < 0.1 * wanted.std()
    assert left.state["embed.noise.weight"].abs().amax() < 20 * net.embed.noise.weight.abs().amax()


def test_the_channels_that_matter_most_stay() -> None:
    net = network(2)
    values = {name: torch.rand_like(p) for name, p in net.named_parameters()}
    for name, (out, _) in graph_of(net).axes.items():
        if name == "enter.weight":
            values[name][5:13] += 1000
            assert len(out) == 1
    left = prune(net, 0.5, values)
    assert torch.equal(left.state["enter.weight"], net.enter.weight[5:13])
    assert net.enter.bias is not None and torch.equal(left.state["enter.bias"], net.enter.bias[5:13])


def test_widths_fit_heads_and_stay_different() -> None:
    assert widths_of(network(2)) == (16, 32, 64)
    assert prune(network(2), 0.3, {}).widths == (8, 16, 48)  # heads of 16 channels
    assert prune(network(2, widths=(16, 24, 24), attention=(False,) * 2 + (True,), head_width=8), 0.4, {}).widths == (
        8, 16, 16,
    )  # fmt: skip


@pytest.mark.parametrize("share", [0.0, 1.0, -0.3, 2.0])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(MultigenError, match="Allowed: a share of the channels, over 0 and under 1"):
        prune(network(2), share, {})


def test_what_cannot_be_pruned_says_so() -> None:
    with pytest.raises(MultigenError, match=r"takes no channel from widths \[16, 32, 64\]"):
        prune(network(2), 0.01, {})

    other = nn.Linear(2, 2)
    with pytest.raises(MultigenError, match="Linear is another network. Allowed for others: --int8, --half"):
        prune(other, 0.3, {})  # type: ignore[arg-type]
