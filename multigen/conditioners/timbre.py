"""Whose voice is it? What voices sound like, as measured on the training set, to know one again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchaudio import functional

_FFT, _STEP, _BANDS, _CEPSTRUM = 0.032, 0.016, 40, 24  # s, s, mel bands, and cepstral coefficients of them
_LOW, _HIGH = 60.0, 7600.0  # Hz, or half of the rate
_QUIET = 3.0  # powers of ten under the loudest frame, from where on a frame is no speech
_LEAST = 0.4  # s of speech from which a voice is known
_CROP = 2.0  # s, of what is measured
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

    def fit(self, items: Iterable[tuple[Tensor, int | None]]) -> None:
        """Measure sounds [C, N] by the number of their voice, in pieces of 2 s."""
        rows: list[list[Cepstrum]] = [[] for _ in self.means]
        size = round(_CROP * self.rate)
        for sound, voice in items:
            for start in range(0, sound.shape[-1] - size + 1, size) if voice is not None else ():
                piece = sound[:, start : start + size]
                found = cepstrum(piece, torch.ones(piece.shape[-1], dtype=torch.bool), self.rate)
                if found is not None and voice is not None:
                    rows[voice].append(found)
        if any(len(row) < 2 for row in rows):
            return
        means = torch.stack([torch.stack([one.mean for one in row]).mean(0) for row in rows])
        apart = torch.stack([one.mean - mean for row, mean in zip(rows, means, strict=True) for one in row])
        covariance = apart.T @ apart / len(apart)
        covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(_CEPSTRUM)
        self.means.copy_(means)
        self.whitening.copy_(torch.linalg.cholesky(torch.linalg.inv(covariance)))
        weights = torch.tensor([_weight(one.seconds) for row in rows for one in row])
        self.radius.copy_(((apart @ self.whitening.double().cpu()).norm(dim=1) * weights).max())

    def _distances(self, found: Tensor) -> Tensor:
        return ((found - self.means.double().cpu()) @ self.whitening.double().cpu()).norm(dim=1)


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
