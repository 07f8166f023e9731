"""Whose voice is it? What voices sound like, as measured on the training set, to know one again."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchaudio import functional

_FFT, _STEP, _BANDS, _CEPSTRUM = 0.032, 0.016, 40, 24  # s, s, mel bands, and cepstral coefficients of them
_LOW, _HIGH = 60.0, 7600.0  # Hz, or half of the rate
_QUIET = 3.0  # powers of ten under the loudest frame, from where on a frame is no speech
_LEAST = 0.4  # s of speech from which a voice is known
_CROP = 2.0  # s at most, of what is measured
_PIECES = 2  # from which a voice is measured
_REACH = 1.2  # times the largest distance of training, within which a voice is the nearest one
_RIDGE = 0.05  # of the mean variance


class Likeness(NamedTuple):
    """The number of the voice that a sound is most like, and whether it is as near as that voice's own sounds."""

    voice: int
    near: bool


class Timbre(nn.Module):
    """Voices as averages of the mel cepstrum of what is loud, in which the level does not count.

    The nearest by the distance of Mahalanobis, with the covariance of all voices about their own means: Fisher's linear
    discriminant (1936) of cepstral means (Davis and Mermelstein 1980).

    voices  how many there are
    rate    Hz, of the sounds
    """

    means: Tensor
    whitening: Tensor
    radius: Tensor

    def __init__(self, voices: int, rate: int) -> None:
        super().__init__()
        self.rate = rate
        # Zeros: the voice was not measured.
        self.register_buffer("means", torch.zeros(voices, _CEPSTRUM))
        self.register_buffer("whitening", torch.zeros(_CEPSTRUM, _CEPSTRUM))
        # The largest distance of 2 s of training; 0: nothing was measured.
        self.register_buffer("radius", torch.zeros(()))

    def forward(self, sound: Tensor, keep: Tensor) -> Likeness | None:
        """Whose voice is in the parts of a sound [C, N] that are kept, bool [N]; None where too little is said."""
        found = cepstrum(sound, keep, self.rate)
        if found is None or not self.radius > 0:
            return None
        far = self._distances(found.mean)
        near = float(far.min()) * _weight(found.seconds) <= _REACH * float(self.radius)
        return Likeness(int(far.argmin()), near)

    def fit(self, items: Iterable[tuple[Tensor, int | None]]) -> list[int]:
        """Measure sounds [C, N] by the number of their voice, in pieces of 2 s; shorter sounds are one piece.

        The numbers of the voices that are not measured, as fewer than two pieces have 0.4 s of speech. No sound is
        theirs; where none was measured, all stays as it is.
        """
        rows: list[list[Cepstrum]] = [[] for _ in self.means]
        for sound, voice in items:
            if voice is not None:
                rows[voice] += self._measured(sound)
        known = [number for number, row in enumerate(rows) if len(row) >= _PIECES]
        means = torch.zeros(len(rows), _CEPSTRUM, dtype=torch.float64)
        for number in known:
            means[number] = torch.stack([one.mean for one in rows[number]]).mean(0)
        apart = [one.mean - means[number] for number in known for one in rows[number]]
        if not any(bool(one.any()) for one in apart):
            return list(range(len(rows)))
        weights = torch.tensor([_weight(one.seconds) for number in known for one in rows[number]])
        self._set(means, torch.stack(apart), weights)
        return [number for number in range(len(rows)) if number not in known]

    def _measured(self, sound: Tensor) -> list[Cepstrum]:
        """The pieces of a sound in which enough is said."""
        size = min(sound.shape[-1], round(_CROP * self.rate))
        starts = range(0, sound.shape[-1] - size + 1, size) if size >= _LEAST * self.rate else ()
        whole = torch.ones(size, dtype=torch.bool)
        pieces = [cepstrum(sound[:, start : start + size], whole, self.rate) for start in starts]
        return [one for one in pieces if one is not None]

    def _set(self, means: Tensor, apart: Tensor, weights: Tensor) -> None:
        """From the means of voices [V, 24], and how far each of n pieces lies from its own [n, 24]."""
        covariance = apart.T @ apart / len(apart)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(_CEPSTRUM)
        self.means.copy_(means)
        self.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(covariance)))
        self.radius.copy_(((apart @ self.whitening.double().cpu()).norm(dim=1) * weights).max())

    def _distances(self, found: Tensor) -> Tensor:
        means = self.means.double().cpu()
        far = ((found - means) @ self.whitening.double().cpu()).norm(dim=1)
        return far.masked_fill(~means.any(1), math.inf)


def _weight(seconds: float) -> float:
    """Of a distance: averages of fewer frames lie farther off."""
    return min(1.0, (seconds / _CROP) ** 0.5)


class Cepstrum(NamedTuple):
    """The mean cepstrum, float64 [24], of so many seconds of speech."""

    mean: Tensor
    seconds: float


def cepstrum(sound: Tensor, keep: Tensor, rate: int) -> Cepstrum | None:
    """The mean cepstrum of the frames of [C, N] that are loud and lie in what is kept, bool [N].

    None where these are shorter than 0.4 s. The level is left out: a sound and its half are the same.
    """
    mono, size, step = sound.float().cpu().mean(0), round(_FFT * rate), round(_STEP * rate)
    if len(mono) < size:
        return None
    window = torch.hann_window(size)
    frames = mono.unfold(0, size, step) * window
    inside = keep.cpu().unfold(0, size, step).all(1)
    power = torch.fft.rfft(frames).abs().square()
    loud = power.sum(1).clamp(min=1e-12).log10()
    inside &= loud > max(float(loud[inside].max()) - _QUIET, -6.0) if bool(inside.any()) else inside
    seconds = int(inside.sum()) * step / rate
    if seconds < _LEAST:
        return None
    filters = functional.melscale_fbanks(size // 2 + 1, _LOW, min(_HIGH, rate / 2), _BANDS, rate)
    bands = (power[inside] @ filters).clamp(min=1e-10).log().double().mean(0)
    return Cepstrum((functional.create_dct(_CEPSTRUM + 1, _BANDS, "ortho").double().T @ bands)[1:], seconds)
