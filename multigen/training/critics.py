"""Critics: discriminators for training a codec, which learn to tell its output from real media."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Spectrograms(nn.Module):
    """Discriminators of complex spectrograms of several sizes, with compressed magnitudes.

    One stack of 2-D convolutions for each FFT size (Défossez et al. 2022, arXiv:2210.13438, section 3.4), trained with
    hinge losses (Lim and Ye 2017, arXiv:1705.02894, eq. 9) and feature matching (Kumar et al. 2019, arXiv:1910.06711,
    eq. 4).

    ffts       FFT sizes
    channels   width of the first layer
    start      share of the training after which the critic joins
    weight     weight of the adversarial losses relative to the spectral ones
    matching   weight of feature matching among the adversarial losses
    """

    def __init__(
        self,
        *,
        ffts: tuple[int, ...] = (2048, 1024, 512),
        channels: int = 16,
        start: float = 0.4,
        weight: float = 0.2,
        matching: float = 2.0,
    ) -> None:
        super().__init__()
        if not ffts or any(n < 32 or n % 4 for n in ffts):
            raise ValueError(f"ffts: {list(ffts)} is not allowed. Allowed: multiples of 4, at least 32.")
        if channels < 1:
            raise ValueError(f"channels: {channels} is not allowed. Allowed: at least 1.")
        if not 0 <= start <= 1 or weight < 0 or matching < 0:
            raise ValueError("start must be from 0 to 1, weight and matching at least 0.")
        self.start, self.weight, self.matching = start, weight, matching
        self.judges = nn.ModuleList(_Judge(n, channels) for n in ffts)

    def forward(self, sound: Tensor) -> list[list[Tensor]]:
        """Sound [B, 1, N] -> for each FFT size the features of its layers; the last one holds the scores."""
        return [judge(sound) for judge in self.judges]

    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the loss of the critic: real sounds [B, 1, N] should score above 1, generated ones below -1."""
        pairs = zip(self(real), self(made), strict=True)
        return _mean([F.relu(1 - r[-1]).mean() + F.relu(1 + m[-1]).mean() for r, m in pairs])

    def teach(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the adversarial loss of the codec."""
        with torch.no_grad():
            wanted = self(real)
        pairs = list(zip(wanted, self(made), strict=True))
        fool = _mean([-m[-1].mean() for _, m in pairs])
        # Relative to the magnitude of each layer's features, so that no layer dominates.
        near = [
            (a - b).abs().mean() / a.abs().mean()
            for r, m in pairs
            for a, b in zip(r[:-1], m[:-1], strict=True)
        ]
        return self.weight * (fool + self.matching * _mean(near))


class _Judge(nn.Module):
    window: Tensor

    def __init__(self, fft: int, channels: int) -> None:
        super().__init__()
        self.fft = fft
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        c = channels
        # Over (frequency, time); frequency is halved where that is cheap, time once.
        shapes = [(2, c, (8, 5), (4, 1)), (c, 2 * c, (5, 3), (2, 1)), (2 * c, 4 * c, (5, 3), (2, 2))]
        layers = [nn.Conv2d(i, o, k, s, (k[0] // 2, k[1] // 2)) for i, o, k, s in shapes]
        layers += [nn.Conv2d(4 * c, 4 * c, 3, 1, 1), nn.Conv2d(4 * c, 1, 3, 1, 1)]
        self.layers = nn.ModuleList(nn.utils.parametrizations.weight_norm(layer) for layer in layers)

    def forward(self, sound: Tensor) -> list[Tensor]:
        spectrum = torch.stft(
            sound[:, 0], self.fft, self.fft // 4, window=self.window, normalized=True, return_complex=True
        )
        # |X|^0.3 with the phase of X: quiet partials count, too.
        spectrum = spectrum * spectrum.abs().clamp_min(1e-5).pow(-0.7)
        x = torch.view_as_real(spectrum).permute(0, 3, 1, 2)
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return [*features, self.layers[-1](x)]


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
