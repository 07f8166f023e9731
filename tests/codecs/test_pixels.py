"""Pixels: lossless folding, clear refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from multigen.codecs.pixels import Pixels
from multigen.errors import RecipeError
from multigen.registry import Part, build


@pytest.mark.parametrize("media", [(2, 64), (1, 6, 8), (3, 4, 6, 8)])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_round_trip_is_exact_for_any_number_of_axes(media: tuple[int, ...], scale: float) -> None:
    x = torch.rand(3, *media, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for unshuffle in (1, 2) if len(media) > 2 else (1,):
        codec = Pixels(unshuffle=unshuffle, scale=scale)
        encoded = codec.encode(x)
        assert tuple(encoded.shape[1:]) == codec.shape(media)
        assert torch.equal(codec.decode(encoded), x)
        assert float(encoded.std()) == pytest.approx(scale * float(x.std()), rel=1e-5)


def test_folding_is_pixel_unshuffle_of_each_frame() -> None:
    video = torch.randn(2, 3, 5, 12, 18, generator=torch.Generator().manual_seed(0))
    folded = Pixels(unshuffle=3).encode(video)
    assert folded.shape == (2, 27, 5, 4, 6)
    for t in range(5):
        assert torch.equal(folded[:, :, t], F.pixel_unshuffle(video[:, :, t], 3))


def test_decode_clamps() -> None:
    x = torch.tensor([-5.0, -2.0, 0.5, 3.0]).reshape(1, 1, 2, 2)
    assert Pixels(scale=2.0).decode(x).flatten().tolist() == [-1.0, -1.0, 0.25, 1.0]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="3 does not divide the size 32 x 30"):
        Pixels(unshuffle=3).shape((3, 32, 30))
    with pytest.raises(ValueError, match="have none"):
        Pixels(unshuffle=2).shape((1, 22050))
    with pytest.raises(RecipeError, match="codec .*unshuffle"):
        build("codec", Part("pixels", {"unshuffle": 0}))
    with pytest.raises(ValueError, match="scale"):
        Pixels(scale=0.0)


def test_fit_reads_nothing_and_nothing_is_saved() -> None:
    def broken():
        raise AssertionError("read")
        yield torch.zeros(1)

    codec = Pixels()
    codec.fit(broken())
    assert codec.state_dict() == {}


def test_unclamped_goes_beyond_the_limits_and_keeps_the_gradient() -> None:
    """A restoration is led by the gradient of what is seen: at -1 and 1 a clamp would leave none."""
    codec = Pixels(unshuffle=2, scale=2.0)
    x = torch.linspace(-6, 6, 4 * 4 * 4).reshape(1, 4, 4, 4).requires_grad_()
    free = codec.unclamped(x)
    assert free.abs().max() > 2
    torch.testing.assert_close(codec.decode(x), free.clamp(-1, 1))
    torch.testing.assert_close(codec.encode(free), x)  # nothing is lost, so the way back is exact
    (gradient,) = torch.autograd.grad(free.sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 1 / codec.scale))
    (clamped,) = torch.autograd.grad(codec.decode(x).sum(), x)
    assert (clamped == 0).any()


def test_unclamped_alpha_has_small_gradients() -> None:
    """Colour is premultiplied: what is nearly clear would be divided by nearly nothing."""
    codec = Pixels()
    x = torch.full((1, 4, 2, 2), -0.999).requires_grad_()
    (gradient,) = torch.autograd.grad(codec.unclamped(x).sum(), x)
    (sharp,) = torch.autograd.grad(codec.decode(x * 1).sum(), x)
    assert gradient.abs().max() < sharp.abs().max() and gradient.isfinite().all()
