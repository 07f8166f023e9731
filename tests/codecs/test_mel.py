"""The mel codec: round trips measured, statistics that travel, vocoder in tune."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.codecs.griffin_lim import GriffinLim
from multigen.codecs.mel import Mel
from multigen.codecs.phases import propagate
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.audio import chroma_distance, detune, loudness, stft_distance
from multigen.modalities.audio import Audio

RATE = 22050
AUDIO = Audio(rate=RATE, seconds=2.0)
TRAINED = 40


def chord(seed: int, seconds: float = 2.0, level: float = 0.03) -> Tensor:
    """[1, N]: chords of four notes with eight partials each, a new one every half second."""
    rng = torch.Generator().manual_seed(seed)
    t = torch.arange(RATE // 2, dtype=torch.float64) / RATE
    shape = (t / 0.02).clamp_max(1) * torch.exp(-2 * t)
    partials = torch.arange(1.0, 9.0, dtype=torch.float64)[:, None]
    out = []
    for _ in range(round(seconds * 2)):
        pitches = torch.randint(48, 76, (4, 1, 1), generator=rng)
        f0 = 440 * 2 ** ((pitches.double() - 69) / 12)
        out.append(shape * (torch.sin(2 * math.pi * f0 * partials * t) / partials).sum((0, 1)))
    return (level * torch.cat(out)).float()[None]


@pytest.fixture(scope="module")
def fitted() -> Mel:
    codec = Mel(modality=AUDIO)
    codec.fit(chord(seed) for seed in range(TRAINED))
    return codec


def test_round_trip_keeps_pitch_chords_and_level(fitted: Mel) -> None:
    media = torch.stack([chord(seed) for seed in (100, 101, 102)])
    x = fitted.encode(media)
    assert x.shape == (3, 64, 44100 // 512) == (3, *fitted.shape((1, 44100)))
    back = fitted.decode(x, seed=5)
    assert back.shape == (3, 1, 86 * 512)
    media = media[..., : 86 * 512]
    assert (detune(back, RATE) - detune(media, RATE)).max() < 0.06
    assert chroma_distance(back, media, RATE).max() < 0.06
    assert stft_distance(back, media).max() < 0.5
    assert (loudness(back, RATE) - loudness(media, RATE)).abs().max() < 0.7


def test_model_space_is_white_over_the_training_set(fitted: Mel) -> None:
    x = fitted.encode(torch.stack([chord(seed) for seed in range(TRAINED)]))
    frames = x.transpose(1, 2).reshape(-1, 64).double()
    torch.testing.assert_close(frames.mean(0), torch.zeros(64).double(), atol=2e-3, rtol=0)
    torch.testing.assert_close(torch.cov(frames.T), torch.eye(64).double(), atol=6e-3, rtol=0)


def test_components_are_the_largest_of_an_exact_decomposition(fitted: Mel) -> None:
    """Against one SVD of all frames at once: the streamed sums lose nothing."""
    frames = torch.cat([fitted.log_mel(chord(seed))[0] for seed in range(TRAINED)]).double()
    _, values, axes = torch.linalg.svd(frames - frames.mean(0), full_matrices=False)
    torch.testing.assert_close(fitted.mean.double(), frames.mean(0), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        fitted.scale.double(), values[:64] / math.sqrt(len(frames)), atol=1e-4, rtol=1e-3
    )
    overlap = (axes[:8] @ fitted.basis[:, :8].double()).abs()
    torch.testing.assert_close(overlap, torch.eye(8).double(), atol=1e-3, rtol=0)


def test_all_bins_keep_the_mel_exactly() -> None:
    codec = Mel(modality=AUDIO, components=None, bins=100)
    codec.fit([chord(0), chord(1)])
    x = codec.encode(chord(1)[None])
    assert x.shape == (1, 100, 86)
    level = x.transpose(1, 2) * codec.scale + codec.mean
    torch.testing.assert_close(level, codec.log_mel(chord(1)), atol=1e-4, rtol=0)


def test_levels_are_absolute_and_filters_have_unit_area() -> None:
    """White noise of deviation s: |STFT| * 2/fft has the Rayleigh mean s sqrt(pi/4 * 3/8 * fft) * 2/fft, and a filter
    of unit area in Hz multiplies it by the bins per Hz, fft / rate."""
    codec = Mel(modality=AUDIO)
    noise = 0.1 * torch.randn(1, 4 * RATE, generator=torch.Generator().manual_seed(0))
    mel = codec.log_mel(noise)[0, 4:-4].exp() - codec.floor
    expected = 0.1 * math.sqrt(math.pi / 4 * 3 / 8 * 2048) * 2 / 2048 * (2048 / RATE)
    assert mel[:, 150:].mean().item() == pytest.approx(expected, rel=0.02)


def test_statistics_travel_in_the_checkpoint(fitted: Mel) -> None:
    other = Mel(modality=AUDIO)
    media = chord(7)[None]
    for use in (lambda: other.encode(media), lambda: other.decode(torch.zeros(1, 64, 10))):
        with pytest.raises(MultigenError, match="no statistics"):
            use()
    other.load_state_dict(fitted.state_dict())
    assert torch.equal(other.encode(media), fitted.encode(media))
    assert set(fitted.state_dict()) == {"mean", "basis", "scale", "ceiling"}


class Float32Only(Tensor):
    """As on a device without float64: nothing of that precision may be made there; `.to("cpu")` leaves it."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        out = super().__torch_function__(func, types, args, kwargs or {})
        if func is Tensor.to and "cpu" in args:
            return out.as_subclass(Tensor)
        if isinstance(out, cls) and out.dtype == torch.float64:
            raise TypeError("this device has no float64")
        if func is Tensor.copy_ and args[1].dtype == torch.float64:
            raise TypeError("float64 cannot be copied to this device")
        return out


@pytest.mark.parametrize("components", [8, None])
def test_statistics_are_summed_where_there_is_float64(components: int | None) -> None:
    codec, plain = (Mel(modality=AUDIO, bins=100, components=components) for _ in range(2))
    for name, buffer in [*codec.named_buffers(recurse=False)]:
        setattr(codec, name, buffer.as_subclass(Float32Only))
    for one in (codec, plain):
        one.fit(chord(seed) for seed in range(3))
    for name in ("mean", "basis", "scale", "ceiling"):
        assert isinstance(getattr(codec, name), Float32Only)
        assert torch.equal(getattr(codec, name).as_subclass(Tensor), getattr(plain, name)), name


def test_phases_are_keyed_by_seed_and_row(fitted: Mel) -> None:
    """To the bit: Griffin-Lim makes 200 times more of a difference, so each row is computed alone.

    Phases of another seed make a difference of 0.2.
    """
    x = fitted.encode(torch.stack([chord(3), chord(4)]))
    both = fitted.decode(x, seed=10)
    assert torch.equal(both, fitted.decode(x, seed=10))
    assert torch.equal(both[1:], fitted.decode(x[1:], seed=11))
    assert (both[1:] - fitted.decode(x[1:], seed=12)).abs().max() > 0.01


def test_wild_values_stay_within_the_training_level(fitted: Mel) -> None:
    """A bad sample of a model must not blow up: the loudest bin of training, and 3 dB."""
    wild = fitted.decode(torch.full((1, 64, 40), 30.0))
    assert torch.isfinite(wild).all()
    assert fitted.ceiling.item() - math.log(10**0.15) == pytest.approx(
        max(fitted.log_mel(chord(seed)).max().item() for seed in range(TRAINED)), abs=1e-4
    )
    assert fitted.log_mel(wild[0]).max() < fitted.ceiling + 0.7


def test_silence_stays_silent(fitted: Mel) -> None:
    x = fitted.encode(torch.zeros(1, 1, 44100))
    assert fitted.decode(x).abs().max() < 0.01


def test_channels_are_coded_side_by_side(fitted: Mel) -> None:
    """To the bit, as a row is computed alone; phases of another seed make a difference of 0.2."""
    stereo = Mel(modality=Audio(rate=RATE, channels=2))
    stereo.load_state_dict(fitted.state_dict())
    media = torch.cat([chord(1), chord(2)])[None]
    assert stereo.shape((2, 44100)) == (128, 86)
    x = stereo.encode(media)
    assert torch.equal(x, torch.cat([fitted.encode(chord(1)[None]), fitted.encode(chord(2)[None])], 1))
    left = fitted.decode(x[:, :64], seed=3)
    assert torch.equal(stereo.decode(x, seed=3)[:, :1], left)


def test_magnitudes_fit_the_mel_and_are_not_negative(fitted: Mel) -> None:
    vocoder = fitted.vocoder
    spectrum = torch.rand(1, 1025, 4, generator=torch.Generator().manual_seed(0)) ** 4
    mel = fitted.filters.T @ spectrum
    plain, refined = vocoder.magnitudes(mel, steps=0), vocoder.magnitudes(mel, steps=16)
    assert refined.min() >= 0
    errors = [(fitted.filters.T @ m - mel).norm() / mel.norm() for m in (plain, refined)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.03


@pytest.mark.parametrize("frequency", [440.0, 446.3, 1234.5])
def test_a_peak_keeps_its_frequency(frequency: float) -> None:
    """Phases of one sine from its magnitudes alone: they turn by its frequency, not by a bin's."""
    t = torch.arange(RATE, dtype=torch.float64) / RATE
    window = torch.hann_window(2048, dtype=torch.float64)
    magnitude = torch.stft(
        torch.sin(2 * math.pi * frequency * t), 2048, 512, window=window, return_complex=True
    ).abs()
    phase = propagate(magnitude[None, :, 4:-4].float(), torch.zeros(1, 1025), 2048, 512)[0]
    peak = round(frequency / RATE * 2048)
    turn = (phase[peak, 1:] - phase[peak, :-1]).double()
    expected = 2 * math.pi * frequency * 512 / RATE
    # The parabola on a Hann window's log magnitude errs by up to 0.02 bins: 0.03 rad a hop.
    wrong = (turn - expected + math.pi).remainder(2 * math.pi) - math.pi
    assert wrong.abs().max() < 0.035


def test_griffin_lim_brings_the_magnitudes_nearer(fitted: Mel) -> None:
    magnitude = torch.stft(chord(9)[0], 2048, 512, window=torch.hann_window(2048), return_complex=True).abs()[
        None
    ]
    random = 2 * math.pi * torch.rand(magnitude.shape, generator=torch.Generator().manual_seed(0))
    errors = []
    for iterations in (0, 4, 32):
        vocoder = GriffinLim(fitted.filters, fft=2048, hop=512, iterations=iterations)
        errors.append(stft_distance(vocoder.refine(magnitude, random, 44100), chord(9)).item())
    assert errors[0] > 1.3 * errors[1] > 1.3**2 * errors[2]


def test_wrong_arguments_are_refused() -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"hop": 4096}, "hop: 4096"),
        ({"components": 300}, "components: 300"),
        ({"high": 20000.0}, "20000"),
        ({"bins": 900}, "mel filters lie between"),
        ({"floor": 0.0}, "floor"),
    )
    for wrong, said in cases:
        with pytest.raises(ValueError, match=said):
            Mel(modality=AUDIO, **wrong)
    with pytest.raises(RecipeError, match="griffin_lim"):
        Mel(modality=AUDIO, vocoder="griffinlim")


def test_only_audio_is_taken(fitted: Mel) -> None:
    class Picture(Audio):
        def shape(self, size: object = None, duration: float | None = None) -> tuple[int, ...]:
            return (3, 64, 64)

    with pytest.raises(ValueError, match="a mel codec takes audio"):
        Mel(modality=Picture())
    with pytest.raises(ValueError, match="a mel codec takes audio"):
        fitted.shape((3, 64, 64))
    with pytest.raises(ValueError, match=r"0\.\d+ s are too short: an FFT of 2048 samples needs 0\.\d+ s"):
        fitted.shape((1, 1535))
    with pytest.raises(MultigenError, match="frames of training media"):
        Mel(modality=AUDIO).fit([chord(0, seconds=0.5)])
