"""Restoring: what is known comes back as it was measured; what does not fit is said before any call."""

from __future__ import annotations

import pytest
import torch

import multigen
from multigen.errors import MultigenError, RecipeError
from multigen.generation.operators import BandLimit, Blur, Downsample, Frames
from multigen.model.model import Model
from multigen.registry import Part
from tests.model.test_model import small


@pytest.fixture(scope="module")
def digits() -> Model:
    return multigen.load("image_digits", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "operator",
    [Part("downsample", {"factor": 2}), Part("downsample", {"factor": 4}), Part("blur", {"sigma": 1.5})],
)
def test_a_digit_is_restored_from_what_is_left_of_it(digits: Model, operator: Part) -> None:
    """A three-step check: the measurement is met, the picture is nearer than its measurement, and than any digit."""
    made = {"downsample": Downsample, "blur": Blur}[operator.name](
        modality=digits.modality, codec=digits.codec, **operator.args
    )
    true = digits.generate("7", seed=1, steps=16)[0].tensor
    known = made(digits.codec.encode(true[None]))[0]
    out = digits.edit(known, "7", restore=operator, steps=24, n=2, seed=3)
    for one in out:
        met = made(digits.codec.encode(one.tensor[None]))[0]
        assert (met - known).square().mean().sqrt() < 0.08
    error = torch.stack([(m.tensor - true).square().mean() for m in out]).mean().sqrt()
    other = (
        torch.stack([(m.tensor - true).square().mean() for m in digits.generate("7", n=2, seed=3)])
        .mean()
        .sqrt()
    )
    assert error < 0.6 * other


def test_what_a_sound_lost_above_a_band_is_found_again() -> None:
    model = multigen.load("audio_music", device="cpu")
    prompt, band = "flute, E minor, 84 bpm", Part("band_limit", {"high": 4000.0})
    true = model.generate(prompt, seed=1, steps=8, duration=2.0)[0].tensor
    spectrum = torch.fft.rfft(true)
    spectrum[:, round(4000 / 22050 * true.shape[1]) :] = 0
    dull = torch.fft.irfft(spectrum, n=true.shape[1])
    out = model.edit(dull, prompt, restore=band, steps=8)[0].tensor
    assert out.abs().max() < 1.2
    known = BandLimit(modality=model.modality, codec=model.codec).known
    was, lost, found = (model.codec.log_mel(sound)[0] for sound in (true, dull, out))
    frames = slice(2, min(len(was), len(found)) - 2)
    assert (found - was)[frames][:, known].abs().mean() < 0.12  # the codec alone: 0.08
    assert (found - was)[frames][:, ~known].abs().mean() < 0.6 * (lost - was)[frames][:, ~known].abs().mean()


def test_frames_between_are_found() -> None:
    model = small("video_moving_emoji")
    every = Part("frames", {"every": 2})
    clip = 0.5 * torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0)) - 0.25
    out = model.edit(clip, restore=every, steps=3)[0]
    assert out.tensor.shape == (3, 4, 16, 16)


def test_operators_are_linear() -> None:
    video, sound = small("video_moving_emoji"), small("audio_music")
    x = torch.randn(
        2, 2, *video.codec.shape(video.modality.shape()), generator=torch.Generator().manual_seed(1)
    )
    made = [cls(modality=video.modality, codec=video.codec) for cls in (Downsample, Blur, Frames)]
    for operator in made:
        zero = operator(torch.zeros_like(x[0]))
        torch.testing.assert_close(
            operator(2 * x[0] - x[1]), 2 * operator(x[0]) - operator(x[1]), atol=1e-5, rtol=1e-5
        )
        assert zero.abs().max() == 0
    band = BandLimit(modality=sound.modality, codec=sound.codec, high=3000.0)
    shape = sound.codec.shape(sound.modality.shape())
    y = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(2))
    zero = band(torch.zeros_like(y[0]))
    # A coordinate sums levels of up to 9 with weights of up to 37 in all, of which 8 is left: 8e-5 in fp32. Levels cut
    # at the ceiling differ by more than 1.
    torch.testing.assert_close(
        band(2 * y[0] - y[1]) - zero, 2 * (band(y[0]) - zero) - (band(y[1]) - zero), atol=1e-3, rtol=0
    )


def test_the_gain_is_that_of_the_operator_and_its_transpose() -> None:
    model = small("image_digits")
    for operator in (Downsample(modality=model.modality, codec=model.codec, factor=k) for k in (2, 4)):
        side = 28 // operator.factor
        y = torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(0))
        x = torch.zeros(1, *model.codec.shape((1, 28, 28)), requires_grad=True)
        (back,) = torch.autograd.grad((operator(x) * y).sum(), x)
        torch.testing.assert_close(operator(back), operator.gain * y)


def test_the_band_of_a_sound_is_what_its_low_bins_say() -> None:
    model = small("audio_music")
    band = BandLimit(modality=model.modality, codec=model.codec, high=3000.0)
    t = torch.arange(model.modality.shape()[1]) / 22050
    low = 0.1 * torch.sin(6.28318 * 800 * t)[None, None]
    high = low + 0.1 * torch.sin(6.28318 * 6000 * t)[None, None]
    inner = slice(4, -4)  # a tone that begins at once has all frequencies
    torch.testing.assert_close(
        band.measured(low)[:, :, inner], band.measured(high)[:, :, inner], atol=0.1, rtol=0
    )


def test_what_does_not_fit_is_refused() -> None:
    digits, sound = small("image_digits"), small("audio_music")
    medium = torch.zeros(1, 14, 14)
    for model, media, operator, said in (
        (digits, medium, Part("downsample", {"factor": 1}), "factor: 1"),
        (digits, medium, Part("downsampel"), "Did you mean 'downsample'"),
        (digits, medium, Part("frames"), "frames are of videos"),
        (digits, medium, Part("band_limit"), "mel codec"),
        (sound, torch.zeros(1, 30000), Part("blur"), "band_limit"),
        (sound, torch.zeros(1, 30000), Part("band_limit", {"high": 1e5}), "high: 100000.0"),
    ):
        with pytest.raises((MultigenError, RecipeError), match=said):
            model.edit(media, "3" if model is digits else "", restore=operator)
