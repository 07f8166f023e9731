"""Critics: discriminators for training a codec, which learn to tell its output from real media."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.modalities import Modality
from multigen.registry import Given

Features = list[list[Tensor]]  # of each judge: those of its layers; the last ones are its scores


class Critic(nn.Module, ABC):
    """What a codec trains against (kind "critic").

    axes    numbers of axes of the media that it judges: 1 sound, 2 pictures, 3 video
    start   share of the training after which it joins
    """

    axes: tuple[int, ...] = (1, 2, 3)
    start: float = 0.0

    @abstractmethod
    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the loss of the critic, of real media and copies, both [B, C, *D]: 0-d."""

    @abstractmethod
    def teach(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the adversarial loss of the codec: 0-d."""


class Judges(Critic):
    """Several judges, each a stack of 2-D convolutions, trained with hinge losses and feature matching.

    Hinge losses: Lim and Ye 2017 (arXiv:1705.02894), eq. 9. Matching: Kumar et al. 2019 (arXiv:1910.06711), eq. 4.

    start      share of the training after which the critic joins
    weight     weight of the adversarial losses relative to the codec's others
    matching   weight of feature matching among the adversarial losses

    Raises ValueError for values out of range.
    """

    def __init__(self, judges: Iterable[nn.Module], *, start: float, weight: float, matching: float) -> None:
        super().__init__()
        if not 0 <= start <= 1 or weight < 0 or matching < 0:
            raise ValueError("start must be from 0 to 1, weight and matching at least 0.")
        self.start, self.weight, self.matching = start, weight, matching
        self.judges = nn.ModuleList(judges)

    def forward(self, media: Tensor) -> Features:
        """Media [B, C, *D] -> for each judge the features of its layers; the last one holds the scores."""
        return [judge(media) for judge in self.judges]

    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        """Return the loss of the critic: real media [B, C, *D] should score above 1, generated ones below -1."""
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


class Spectrograms(Judges):
    """Sounds: discriminators of complex spectrograms of several sizes, with compressed magnitudes.

    One stack of 2-D convolutions for each FFT size (Défossez et al. 2022, arXiv:2210.13438, section 3.4), trained with
    hinge losses (Lim and Ye 2017, arXiv:1705.02894, eq. 9) and feature matching (Kumar et al. 2019, arXiv:1910.06711,
    eq. 4).

    ffts       FFT sizes
    channels   width of the first layer
    start      share of the training after which the critic joins
    weight     weight of the adversarial losses relative to the spectral ones
    matching   weight of feature matching among the adversarial losses
    """

    axes = (1,)

    def __init__(
        self,
        *,
        ffts: tuple[int, ...] = (2048, 1024, 512),
        channels: int = 16,
        start: float = 0.4,
        weight: float = 0.2,
        matching: float = 2.0,
    ) -> None:
        if not ffts or any(n < 32 or n % 4 for n in ffts):
            raise ValueError(f"ffts: {list(ffts)} is not allowed. Allowed: multiples of 4, at least 32.")
        _positive("channels", channels)
        judges = (_SpectrogramJudge(n, channels) for n in ffts)
        super().__init__(judges, start=start, weight=weight, matching=matching)


class Patches(Judges):
    """Pictures, and the frames of videos: a discriminator whose scores each see a patch.

    Isola et al. 2017 (arXiv:1611.07004), section 3.2.2; trained as `Spectrograms` are.

    channels   width of the first layer; it doubles with each
    layers     layers that halve the size; three see patches of 34 pixels
    start      share of the training after which the critic joins
    weight     weight of the adversarial losses relative to the reconstruction loss
    matching   weight of feature matching among the adversarial losses
    """

    axes = (2, 3)

    def __init__(
        self,
        *,
        modality: Given[Modality],
        channels: int = 32,
        layers: int = 3,
        start: float = 0.5,
        weight: float = 0.02,
        matching: float = 2.0,
    ) -> None:
        _positive("channels", channels)
        _positive("layers", layers)
        judge = _PatchJudge(modality.shape()[0], channels, layers)
        super().__init__([judge], start=start, weight=weight, matching=matching)


class _SpectrogramJudge(nn.Module):
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
        self.layers = _normalised(layers)

    def forward(self, sound: Tensor) -> list[Tensor]:
        spectrum = torch.stft(
            sound.flatten(0, 1),
            self.fft,
            self.fft // 4,
            window=self.window,
            normalized=True,
            return_complex=True,
        )
        # |X|^0.3 with the phase of X: quiet partials count, too.
        spectrum = spectrum * spectrum.abs().clamp_min(1e-5).pow(-0.7)
        return _features(self.layers, torch.view_as_real(spectrum).permute(0, 3, 1, 2))


class _PatchJudge(nn.Module):
    def __init__(self, media: int, channels: int, count: int) -> None:
        super().__init__()
        widths = [media, *(channels * 2**k for k in range(count))]
        layers = [nn.Conv2d(i, o, 4, 2, 1) for i, o in itertools.pairwise(widths)]
        layers += [nn.Conv2d(widths[-1], widths[-1], 3, 1, 1), nn.Conv2d(widths[-1], 1, 3, 1, 1)]
        self.layers = _normalised(layers)

    def forward(self, media: Tensor) -> list[Tensor]:
        return _features(self.layers, media if media.ndim == 4 else media.transpose(1, 2).flatten(0, 1))


def _normalised(layers: Sequence[nn.Conv2d]) -> nn.ModuleList:
    return nn.ModuleList(nn.utils.parametrizations.weight_norm(layer) for layer in layers)


def _features(layers: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """What each layer makes, with leaky rectifiers between them."""
    features = []
    for layer in layers[:-1]:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return [*features, layers[-1](x)]


def _positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}: {value} is not allowed. Allowed: at least 1.")


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
