"""A U-Net that takes a guidance scale: it begins as the network without one, and learns to follow it."""

from __future__ import annotations

import torch

from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec


def network(guided: bool, axes: int = 2) -> UNet:
    torch.manual_seed(0)
    made = UNet(
        axes=axes, channels=2, out_channels=2, cond=CondSpec(), widths=(8, 8), blocks=1, guided=guided
    )
    for parameter in made.parameters():  # many begin at zero, so that nothing would be heard
        torch.nn.init.normal_(parameter, std=0.2)
    if made.embed.guidance is not None:
        torch.nn.init.zeros_(made.embed.guidance.weight)
    return made


def test_the_scale_starts_without_effect_and_then_has_one() -> None:
    plain = network(False)
    guided = network(True)
    guided.load_state_dict(guided.inherit(plain.state_dict()))
    assert guided.distilled and not plain.distilled
    x, c_noise = torch.randn(3, 2, 8, 8), torch.zeros(3)
    scales = [Cond(extra={"guidance": torch.full((3, 1), scale)}) for scale in (1.0, 5.0)]
    with torch.no_grad():
        wanted = plain(x, c_noise, Cond())
        assert all(torch.equal(guided(x, c_noise, cond), wanted) for cond in (Cond(), *scales))
        assert guided.embed.guidance is not None
        torch.nn.init.normal_(guided.embed.guidance.weight)
        low, high = (guided(x, c_noise, cond) for cond in scales)
    assert (low - high).abs().mean() > 1e-3
    plain.load_state_dict(plain.inherit(guided.state_dict()))  # and back, without the scale


def test_frames_of_a_video_hear_the_scale_of_their_own_clip() -> None:
    guided = network(True, axes=3)
    assert guided.embed.guidance is not None
    torch.nn.init.normal_(guided.embed.guidance.weight)
    x, c_noise = torch.randn(2, 2, 3, 8, 8), torch.zeros(2)
    both = guided(x, c_noise, Cond(extra={"guidance": torch.tensor([[1.0], [4.0]])}))
    for row, scale in enumerate((1.0, 4.0)):
        alone = guided(x[row : row + 1], c_noise[:1], Cond(extra={"guidance": torch.full((1, 1), scale)}))
        torch.testing.assert_close(both[row : row + 1], alone, rtol=1e-4, atol=1e-5)
