"""Hand-made descriptors of sound: no network, no weights, no licence to doubt."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from multigen.evaluation.features import Facts
from multigen.evaluation.features.common import check_media, frozen, mono, needs, sample_rate, windows
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.torchaudio_shim import import_torchaudio

_RATE = 22050  # Hz
_WINDOW, _HOP = _RATE, _RATE // 2  # samples of one embedding, and between two
_FFT, _STEP = 2048, 512  # of the frames within one
_LONG, _LONG_STEP = 8192, 2048  # where the notes of chords can be told apart
_BANDS, _FINE, _CEPSTRUM = 32, 64, 12
_LOW, _HIGH = 40.0, 10_000.0  # Hz
_OCTAVES = (0, 200, 400, 800, 1600, 3200, 11025)  # Hz: the edges of the contrast's bands
_FLOOR = 1e-10  # of a power: -100 dB of full scale
# For each kind of descriptor: how many, then the middle and the deviation of its means and of its deviations over a
# window, rounded from renderings of music in seven instruments, noise and clicks. They make the kinds weigh alike.
_KINDS = {
    "bands": (_BANDS, -4.7, 1.4, 0.55, 0.6),
    "cepstrum": (_CEPSTRUM, 0.0, 1.3, 0.5, 0.3),
    "chroma": (12, 0.083, 0.12, 0.04, 0.05),
    "contrast": (6, 3.4, 1.2, 0.55, 0.25),
    "level": (1, -1.85, 1.0, 0.3, 0.5),
    "centroid": (1, 9.3, 1.0, 0.3, 0.45),
    "spread": (1, 0.95, 0.3, 0.1, 0.08),
    "flatness": (1, -3.2, 1.2, 0.3, 0.2),
    "rolloff": (1, 10.2, 1.2, 0.4, 0.4),
    "flux": (1, 0.05, 0.04, 0.05, 0.05),
}
_ONSET = (
    (0.25, 0.2),
    (0.3, 0.2),
)  # middle and deviation of the largest flux and of the share of its top tenth
_MOST = 8.0  # deviations from the middle that still count: one odd window must not outweigh a set
WIDTH = 2 * sum(kind[0] for kind in _KINDS.values()) + len(_ONSET)


class Spectral(nn.Module):
    """Sound: 138 hand-made descriptors of each second, every half second; no weights, so no licence to doubt.

    The mean and the deviation over the window's frames (93 ms, every 23 ms; notes: 372 ms, every 93 ms) of: the log
    power of 32 mel bands from 40 Hz to 10 kHz; the first 12 mel cepstral coefficients (Davis & Mermelstein 1980); the
    share of each of 12 pitch classes between 100 and 1500 Hz (Fujishima 1999); the spectral contrast of 6 bands (Jiang
    et al. 2002); level, log centroid, spread, log flatness, log roll-off (85%) and flux (Peeters 2004). Then the
    largest flux, and how much of it the strongest tenth of the frames has: how sharply notes begin. All are
    standardised by fixed constants, so that no kind outweighs another, and cut at 8 deviations.

    The descriptors are this project's own: figures compare with figures of this extractor alone, and hear timbre,
    harmony, level and rhythm within a second, not melody or form.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        needs(modality, 1, "spectral")
        self._rate = sample_rate(modality)
        functional = import_torchaudio().functional
        bins = _FFT // 2 + 1
        for name, count in (("bands", _BANDS), ("fine", _FINE)):
            filters = functional.melscale_fbanks(bins, _LOW, _HIGH, count, _RATE, norm=None, mel_scale="htk")
            self.register_buffer(name, filters, persistent=False)
        self.register_buffer("cosines", functional.create_dct(_FINE, _FINE, "ortho")[:, 1 : _CEPSTRUM + 1])
        self.register_buffer("classes", _classes(), persistent=False)
        self.register_buffer("constants", _constants(), persistent=False)
        frozen(self)
        self.facts = Facts(
            name="spectral",
            width=WIDTH,
            takes=f"{_RATE} Hz mono, windows of 1 s every 0.5 s",
            normalisation="fixed constants for each kind of descriptor, version 1",
            licence="Apache-2.0; no weights",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, 138], K = 1 + floor((N / rate - 1 s) / 0.5 s), at least 1.

        What is left at the end, under half a second, is not heard; sounds under a second are followed by silence.
        """
        check_media(media, 1, "spectral")
        parts = windows(mono(media, self._rate, _RATE), _WINDOW, _HOP)
        found = self._describe(parts.flatten(0, 1))
        middle, scale = self.get_buffer("constants")
        return ((found - middle) / scale).clamp(-_MOST, _MOST).unflatten(0, parts.shape[:2])

    def _describe(self, sound: Tensor) -> Tensor:
        """[B, 22050] -> [B, 138], as they are."""
        power = _power(sound, _FFT, _STEP)  # [B, T, bins]
        bands = _log10(power @ self.get_buffer("bands"))
        cepstrum = _log10(power @ self.get_buffer("fine")) @ self.get_buffer("cosines")
        notes = _power(sound, _LONG, _LONG_STEP) @ self.get_buffer("classes")
        chroma = notes / (notes.sum(-1, keepdim=True) + 12 * _FLOOR)
        flux = _flux(power)
        frames = [bands, cepstrum, chroma, _contrast(power), *_scalars(power), flux]
        found = [torch.cat([f.mean(1), f.std(1, correction=0)], 1) for f in frames]
        strongest = flux.topk(max(1, flux.shape[1] // 10), dim=1).values
        share = strongest.sum(1) / (flux.sum(1) + 1e-6)
        return torch.cat([*found, flux.amax(1), share], 1)


def _constants() -> Tensor:
    """[2, WIDTH]: what is subtracted and what is divided by, in the order of `_describe`."""
    middles: list[float] = []
    scales: list[float] = []
    for count, mean, mean_scale, deviation, deviation_scale in _KINDS.values():
        middles += [mean] * count + [deviation] * count
        scales += [mean_scale] * count + [deviation_scale] * count
    middles += [m for m, _ in _ONSET]
    scales += [s for _, s in _ONSET]
    return torch.tensor([middles, scales])


def _classes() -> Tensor:
    """[bins, 12]: which pitch class, from C, each bin of the long windows counts for."""
    frequency = torch.arange(1, _LONG // 2 + 1) * (_RATE / _LONG)
    pitch = (69 + 12 * torch.log2(frequency / 440)).round().long() % 12
    heard = ((frequency >= 100) & (frequency <= 1500)).float()
    found = torch.nn.functional.one_hot(pitch, 12).float() * heard[:, None]
    return torch.cat([torch.zeros(1, 12), found])


def _power(sound: Tensor, size: int, step: int) -> Tensor:
    """[B, N] -> [B, T, size // 2 + 1]; a sine of amplitude 1 has a power of 1 in its bin."""
    window = torch.hann_window(size, device=sound.device)
    spectrum = torch.stft(sound, size, step, window=window, center=False, return_complex=True)
    return (spectrum.abs() * (2 / window.sum())).square().transpose(1, 2)


def _log10(power: Tensor) -> Tensor:
    return (power + _FLOOR).log10()


def _contrast(power: Tensor) -> Tensor:
    """[B, T, bins] -> [B, T, 6]: log power of each band's strongest fifth over that of its weakest."""
    found: list[Tensor] = []
    for low, high in pairwise(_OCTAVES):
        first, last = math.ceil(low * _FFT / _RATE), math.ceil(high * _FFT / _RATE)
        band = power[..., first:last].sort(dim=-1).values
        fifth = max(1, band.shape[-1] // 5)
        found.append(_log10(band[..., -fifth:].mean(-1)) - _log10(band[..., :fifth].mean(-1)))
    return torch.stack(found, -1)


def _scalars(power: Tensor) -> list[Tensor]:
    """[B, T, bins] -> level, centroid, spread, flatness, roll-off, each [B, T, 1].

    Pitches are log2 of Hz from 20 Hz on. In silence the floor alone is heard, which is flat.
    """
    heard = power[..., 2:] + _FLOOR
    frequency = torch.arange(2, power.shape[-1], device=power.device) * (_RATE / _FFT)
    pitch = frequency.log2()
    total = heard.sum(-1, keepdim=True)
    share = heard / total
    centroid = (share * pitch).sum(-1, keepdim=True)
    spread = (share * (pitch - centroid).square()).sum(-1, keepdim=True).sqrt()
    flatness = heard.log10().mean(-1, keepdim=True) - heard.mean(-1, keepdim=True).log10()
    place = (share.cumsum(-1) < 0.85).sum(-1, keepdim=True).clamp_max(len(pitch) - 1)
    return [total.log10(), centroid, spread, flatness, pitch[place]]


def _flux(power: Tensor) -> Tensor:
    """[B, T, bins] -> [B, T - 1, 1]: the mean rise of log(1 + 1000 magnitude) from frame to frame."""
    level = torch.log1p(1000 * power.sqrt())
    return (level[:, 1:] - level[:, :-1]).clamp_min(0).mean(-1, keepdim=True)
