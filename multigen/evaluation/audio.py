"""Measures of sound: tuning, pitch classes, distance between two sounds, onsets, loudness.

Sounds are tensors [..., N] (any leading axes, channels among them) in [-1, 1] at `rate` Hz. Results have the leading
axes. Pitches are equal-tempered with A4 = 440 Hz.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FFT = 8192
_LOW, _HIGH = 100.0, 1500.0  # Hz: the range in which 8192 points resolve the notes of chords
_SIZES = (512, 1024, 2048, 4096)


def stft(sound: Tensor, size: int, hop: int) -> Tensor:
    """Magnitudes [..., size // 2 + 1, frames] of Hann windows of `size` samples, centred every `hop` samples."""
    flat = sound.reshape(-1, sound.shape[-1]).float()
    # Padded with zeros, since reflection would need sounds longer than half a window.
    flat = torch.nn.functional.pad(flat, (size // 2, size // 2))
    window = torch.hann_window(size, device=flat.device)
    spectrum = torch.stft(flat, size, hop, window=window, center=False, return_complex=True)
    return spectrum.abs().reshape(*sound.shape[:-1], size // 2 + 1, -1)


def _tonal_power(sound: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Power [..., bins] summed over time between 100 and 1500 Hz, and the bins' pitches [bins] in MIDI semitones."""
    power = stft(sound, _FFT, _FFT // 4).square().sum(-1)
    frequency = torch.arange(power.shape[-1], device=power.device) * (rate / _FFT)
    inside = (frequency >= _LOW) & (frequency <= _HIGH)
    return power[..., inside], 69 + 12 * torch.log2(frequency[inside] / 440)


def detune(sound: Tensor, rate: int) -> Tensor:
    """Energy-weighted mean distance from the nearest equal-tempered note, in semitones: 0 is in tune, 0.5 the worst.

    sum_k P_k |p_k - round(p_k)| / sum_k P_k over the bins k of an 8192-point power spectrum from 100 to 1500 Hz,
    p_k = 69 + 12 log2(f_k / 440 Hz). Noise gives 0.25; the width of the window alone gives about 0.05.
    """
    power, pitch = _tonal_power(sound, rate)
    return (power * (pitch - pitch.round()).abs()).sum(-1) / power.sum(-1).clamp_min(1e-20)


def chroma(sound: Tensor, rate: int) -> Tensor:
    """Share of the energy on each pitch class: [..., 12] from C to B, summing to 1; all 0 for silence.

    Each bin between 100 and 1500 Hz counts for its nearest equal-tempered note (Fujishima 1999, pitch class profile).
    """
    power, pitch = _tonal_power(sound, rate)
    classes = torch.nn.functional.one_hot(pitch.round().long() % 12, 12).to(power)
    return (power @ classes) / power.sum(-1, keepdim=True).clamp_min(1e-20)


def chroma_distance(a: Tensor, b: Tensor, rate: int) -> Tensor:
    """Total variation between the chroma of two sounds, sum_c |a_c - b_c| / 2: 0 if equal, 1 if disjoint."""
    return (chroma(a, rate) - chroma(b, rate)).abs().sum(-1) / 2


def stft_distance(copy: Tensor, original: Tensor) -> Tensor:
    """Mean relative error of STFT magnitudes over windows of 512 to 4096 samples with a hop of a quarter.

    mean_s ||S_s(copy) - S_s(original)||_F / ||S_s(original)||_F: the spectral convergence of Arik et al. 2018
    (arXiv:1808.06719, eq. 2), at several resolutions as in Yamamoto et al. 2020 (arXiv:1910.11480). 0 for equal sounds.
    """
    total = torch.zeros(original.shape[:-1], device=original.device)
    for size in _SIZES:
        a, b = stft(copy, size, size // 4), stft(original, size, size // 4)
        total += (a - b).flatten(-2).norm(dim=-1) / b.flatten(-2).norm(dim=-1).clamp_min(1e-12)
    return total / len(_SIZES)


def onset_rate(sound: Tensor, rate: int) -> Tensor:
    """Note onsets per second.

    Peaks of the spectral flux (the rise of log(1 + 100 S), summed over bins; Dixon 2006, sec. 2.1) of 46 ms windows
    every 12 ms. A peak is the maximum within +-70 ms and exceeds the mean within +-0.5 s by at least half the
    deviation over the whole sound.
    """
    flux, hop, bins = _flux(sound, rate)
    frames = flux.reshape(-1, 1, flux.shape[-1])
    near, around = max(1, round(0.07 * rate / hop)), max(1, round(0.5 * rate / hop))
    peak = torch.nn.functional.max_pool1d(frames, 2 * near + 1, 1, near)
    mean = torch.nn.functional.avg_pool1d(frames, 2 * around + 1, 1, around, count_include_pad=False)
    floor = 1e-3 * bins  # silence has no onsets
    found = (frames == peak) & (frames > mean + 0.5 * frames.std(-1, keepdim=True, correction=0) + floor)
    return found.sum(-1).reshape(flux.shape[:-1]) / (sound.shape[-1] / rate)


def tempo(sound: Tensor, rate: int, slowest: float, fastest: float) -> float:
    """The tempo of a sound [N] in quarters per minute, between two bounds; NaN where nothing begins.

    The beat is the lag at which the spectral flux (as in `onset_rate`, without its mean over +-0.5 s) agrees best with
    itself, counted with the lags of two, three and four beats (Percival & Tzanetakis 2014, sec. II-B, in short). Bounds
    less than an octave apart make it unambiguous: a piece agrees with itself at half its tempo, too.
    """
    flux, hop, _ = _flux(sound, rate)
    around = max(1, round(0.5 * rate / hop))
    mean = torch.nn.functional.avg_pool1d(flux[None], 2 * around + 1, 1, around, count_include_pad=False)[0]
    excess = (flux - mean).clamp_min(0)
    n = len(excess)
    power = torch.fft.rfft(excess - excess.mean(), 2 * n).abs().square()
    agreement = torch.fft.irfft(power)[:n] / torch.arange(n, 0, -1, device=sound.device)
    if not float(agreement[0]) > 0:
        return math.nan
    tried = torch.arange(slowest, fastest + 0.25, 0.5, dtype=torch.float64)
    score = torch.zeros_like(tried)
    for beats, weight in ((1, 1.0), (2, 1.0), (3, 0.5), (4, 0.5)):
        lag = beats * 60 / tried * rate / hop
        first = lag.long().clamp_max(n - 2)
        share = (lag - first).clamp(0, 1)
        near = agreement[first].double(), agreement[first + 1].double()
        score += weight * torch.lerp(near[0], near[1], share) * (lag < 0.75 * n)
    return float(tried[score.argmax()])


def _flux(sound: Tensor, rate: int) -> tuple[Tensor, int, int]:
    """Spectral flux [..., frames] of 46 ms windows, the samples between two of them, and the bins of a window."""
    size = 2 ** round(torch.log2(torch.tensor(rate * 0.046)).item())
    magnitude = stft(sound, size, size // 4) * (2 / size)
    level = torch.log1p(100 * magnitude)
    return (level[..., 1:] - level[..., :-1]).clamp_min(0).sum(-2), size // 4, magnitude.shape[-2]


def silence_share(sound: Tensor, rate: int, threshold: float = -60.0) -> Tensor:
    """Share of 50 ms frames whose root mean square is is below `threshold` dB of full scale."""
    return (_frame_power(sound, rate, 0.05) < 10 ** (threshold / 10)).float().mean(-1)


def clipping_share(sound: Tensor) -> Tensor:
    """Share of samples at full scale or beyond, |x| >= 32767 / 32768."""
    return (sound.abs() >= 32767 / 32768).float().mean(-1)


def loudness(sound: Tensor, rate: int) -> Tensor:
    """Gated loudness in dB of full scale, without frequency weighting.

    The two gates of ITU-R BS.1770-5 (annex 1, eq. 5 to 7) on frames of 400 ms: frames below -70 dB are left out, then
    those more than 10 dB below the mean of the rest. Silence gives -inf.
    """
    power = _frame_power(sound, rate, 0.4)
    loud = power >= 10 ** (-70 / 10)
    mean = (power * loud).sum(-1, keepdim=True) / loud.sum(-1, keepdim=True).clamp_min(1)
    kept = loud & (power > mean / 10)
    return 10 * torch.log10((power * kept).sum(-1) / kept.sum(-1).clamp_min(1))


def _frame_power(sound: Tensor, rate: int, seconds: float) -> Tensor:
    """Mean squares [..., frames] of frames of `seconds`; a shorter last frame counts too."""
    size = max(1, round(seconds * rate))
    whole = sound.shape[-1] // size * size
    parts = [sound[..., :whole].reshape(*sound.shape[:-1], -1, size).float().square().mean(-1)]
    if whole < sound.shape[-1]:
        parts.append(sound[..., whole:].float().square().mean(-1, keepdim=True))
    return torch.cat(parts, -1)
