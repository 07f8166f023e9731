"""Encoder and decoder: the U-Net's layers on one, two and three axes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigen.backbones.autoencoder import Decoder, Encoder
from multigen.backbones.layers import from_blocks, to_blocks

SHARED: dict[str, Any] = {
    "channels": 2,
    "patch": 2,
    "widths": (8, 12, 16),
    "blocks": 1,
    "kernel": 3,
    "groups": 4,
}
SIZES = {1: (32,), 2: (16, 24), 3: (3, 16, 8)}


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_shapes_and_gradients(axes: int, attention: bool) -> None:
    torch.manual_seed(0)
    encoder = Encoder(axes=axes, out_channels=6, attention=attention, **SHARED)
    decoder = Decoder(axes=axes, in_channels=6, attention=attention, **SHARED)
    x = torch.randn(2, 2, *SIZES[axes])
    z = encoder(x)
    strided = SIZES[axes] if axes < 3 else SIZES[axes][1:]
    assert tuple(z.shape[2:]) == (*SIZES[axes][: len(SIZES[axes]) - len(strided)], *(n // 8 for n in strided))
    made = decoder(z)
    assert made.shape == x.shape
    made.square().mean().backward()
    parameters = [*encoder.named_parameters(), *decoder.named_parameters()]
    # Layers that begin at zero pass no gradient to those before them yet.
    late = ("conv1", "norm1", "norm2", "time_conv", "attention", "norm.")
    untouched = [n for n, p in parameters if p.grad is None or p.grad.abs().sum() == 0]
    assert all(any(word in name for word in late) for name in untouched), untouched


def test_blocks_are_moved_without_loss() -> None:
    for axes, size in SIZES.items():
        x = torch.randn(2, 3, *size)
        folded = to_blocks(x, 2)
        assert folded.shape[1] == (6 if axes == 1 else 12)
        assert torch.equal(from_blocks(folded, 2), x)


def test_a_frame_knows_others_once_layers_over_time_have_learned() -> None:
    torch.manual_seed(0)
    encoder = Encoder(axes=3, out_channels=4, attention=False, **SHARED)
    flat = Encoder(axes=2, out_channels=4, attention=False, **SHARED)
    flat.load_state_dict({k: v for k, v in encoder.state_dict().items() if "time_conv" not in k})
    clip = torch.randn(1, 2, 3, 16, 8)
    frames = torch.stack([flat(clip[:, :, t]) for t in range(3)], 2)
    torch.testing.assert_close(
        encoder(clip), frames, atol=1e-5, rtol=1e-5
    )  # each as a picture before training
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    moved = clip.clone()
    moved[:, :, 0] += 1
    change = (encoder(moved) - encoder(clip)).abs().amax((0, 1, 3, 4))
    assert bool((change > 1e-4).all())
