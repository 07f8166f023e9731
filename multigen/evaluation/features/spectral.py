"""Spectral descriptors of sound: no network and no weights, so no doubtful licence."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features import descriptors as d
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.sound import mono, sample_rate, windows
from multigen.evaluation.features.weights import freeze
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.torchaudio_shim import import_torchaudio

WIDTH = d.WIDTH
_WINDOW, _HOP = d.RATE, d.RATE // 2  # samples of one embedding, and between two
_MOST = 8.0  # deviations from the centre at which descriptors are cut: one odd window must not outweigh a set


class Spectral(nn.Module, Feature):
    """Sound: 138 spectral descriptors of each second, every half second; no network, no weights.

    Mean and deviation over the window's frames (93 ms, every 23 ms; for notes 372 ms, every 93 ms) of:

    bands      log power of 32 mel bands from 40 Hz to 10 kHz
    cepstrum   the first 12 mel cepstral coefficients (Davis & Mermelstein 1980)
    chroma     share of each of 12 pitch classes between 100 and 1500 Hz (Fujishima 1999)
    contrast   spectral contrast of 6 bands (Jiang et al. 2002)
    scalars    level, log centroid, spread, log flatness, log roll-off (85%) and flux (Peeters 2004)

    Then the largest flux, and the share of the flux in the strongest tenth of the frames: how sharply notes begin. All
    are standardised by fixed constants, so that no kind outweighs another, and cut at 8 deviations.

    This is multigen's own set of descriptors: compare its figures only with figures of the same extractor. They follow
    timbre, harmony, level and rhythm within a second, not melody or form.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_modality(modality, 1, "spectral")
        self._rate = sample_rate(modality)
        functional = import_torchaudio().functional
        bins = d.FFT // 2 + 1
        for name, count in (("bands", d.BANDS), ("fine", d.FINE)):
            filters = functional.melscale_fbanks(
                bins, d.LOW, d.HIGH, count, d.RATE, norm=None, mel_scale="htk"
            )
            self.register_buffer(name, filters, persistent=False)
        cosines = functional.create_dct(d.FINE, d.FINE, "ortho")
        self.register_buffer("cosines", cosines[:, 1 : d.CEPSTRUM + 1])
        self.register_buffer("classes_of_bins", d.pitch_classes(), persistent=False)
        self.register_buffer("scaling", d.scaling(), persistent=False)
        freeze(self)
        self.facts = Facts(
            name="spectral",
            width=WIDTH,
            takes=f"{d.RATE} Hz mono, windows of 1 s every 0.5 s",
            normalisation="fixed constants for each kind of descriptor, version 1",
            licence="Apache-2.0; no weights",
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, 138], K = 1 + floor((N / rate - 1 s) / 0.5 s), at least 1.

        Less than half a second at the end is ignored; sounds under a second are padded with silence.
        """
        check_media(media, 1, "spectral")
        parts = windows(mono(media, self._rate, d.RATE), _WINDOW, _HOP)
        found = self._describe(parts.flatten(0, 1))
        centre, scale = self.get_buffer("scaling")
        return ((found - centre) / scale).clamp(-_MOST, _MOST).unflatten(0, parts.shape[:2])

    def _describe(self, sound: Tensor) -> Tensor:
        """[B, 22050] -> [B, 138], not yet standardised."""
        power = d.power(sound, d.FFT, d.STEP)  # [B, T, bins]
        bands = d.log10(power @ self.get_buffer("bands"))
        cepstrum = d.log10(power @ self.get_buffer("fine")) @ self.get_buffer("cosines")
        notes = d.power(sound, d.LONG, d.LONG_STEP) @ self.get_buffer("classes_of_bins")
        chroma = notes / (notes.sum(-1, keepdim=True) + 12 * d.FLOOR)
        flux = d.flux(power)
        frames = [bands, cepstrum, chroma, d.contrast(power), *d.shape_of_spectrum(power), flux]
        found = [torch.cat([f.mean(1), f.std(1, correction=0)], 1) for f in frames]
        strongest = flux.topk(max(1, flux.shape[1] // 10), dim=1).values
        share = strongest.sum(1) / (flux.sum(1) + 1e-6)
        return torch.cat([*found, flux.amax(1), share], 1)
