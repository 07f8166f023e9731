"""A neural vocoder: the network gives magnitudes and attacks, and steady tones keep their own frequency.

As Vocos (Siuzdak 2023, arXiv:2306.00814), ConvNeXt blocks (Liu et al. 2022, arXiv:2201.03545, figure 4) at the rate of
frames and one inverse STFT, except for the phases. The spectrum is

    M e^(i phi) + M R

The network gives the magnitudes M and the complex R, what frames alone determine: attacks. phi continues each peak of M
at its own frequency (`phases`). A network of frames alone gives equal phases to equal frames, so that a steady tone
could only sound at multiples of rate/hop, 43 Hz apart.

Phases of neighbouring frames that disagree cancel where the frames overlap, and the sound is quieter than M. A few
rounds of Griffin-Lim from those phases make them agree; training goes through them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.codecs.phases import propagate
from multigen.core import noise

# Log-mel frames lie between the logarithm of the floor (about -10) and 0. This brings them near unit size.
_SHIFT, _SCALE = 6.0, 4.0
_LEAST = 1e-5  # magnitude of the STFT, of 2 / fft a unit sine
_ROUNDS = 3  # of Griffin-Lim; a fourth would gain less than 0.5%


class NeuralVocoder(nn.Module):
    """Linear mel magnitudes -> a complex STFT -> sound.

    filters   [fft // 2 + 1, bins], the mel filterbank that made the magnitudes from those of a Hann STFT
    fft, hop  samples of a frame, and between frames
    floor     added to magnitudes before the logarithm
    width     of the network, 8 or more
    blocks    of the network, 1 or more

    Raises ValueError for other values.
    """

    window: Tensor
    inverse: Tensor

    def __init__(
        self, filters: Tensor, *, fft: int, hop: int, floor: float, width: int = 384, blocks: int = 6
    ) -> None:
        super().__init__()
        if width < 8 or blocks < 1:
            raise ValueError(
                f"width, blocks: {width}, {blocks} is not allowed. Allowed: 8 or more, 1 or more."
            )
        self.fft, self.hop, self.floor = fft, hop, floor
        self.register_buffer("window", torch.hann_window(fft), persistent=False)
        self.register_buffer("inverse", torch.linalg.pinv(filters.T.double()).float(), persistent=False)
        edges, bins = filters.shape
        self.stem = nn.Conv1d(bins, width, 7, padding=3)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(_Block(width, blocks) for _ in range(blocks))
        self.last = nn.LayerNorm(width)
        # Zero, so that training starts from the least-squares magnitudes and the phases of their peaks.
        self.head = nn.Linear(width, 3 * edges)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, T] linear mel magnitudes -> [B, 1, T * hop]. Row k's first phases are keyed by seeds[k]."""
        return self.sound(self.spectrum(mel, seeds=seeds))

    def spectrum(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, T] -> complex [B, fft // 2 + 1, T + 1], of a centred STFT."""
        # A centred STFT of T * hop samples has one frame more.
        mel = torch.cat([mel, mel[..., -1:]], -1)
        x = (mel + self.floor).log().add(_SHIFT).div(_SCALE)
        x = self.norm(self.stem(x).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        level, real, imaginary = self.head(self.last(x)).transpose(1, 2).chunk(3, 1)
        magnitude = ((self.inverse @ mel).clamp_min(_LEAST).log() + level).clamp_max(math.log(self.fft)).exp()
        edges = magnitude.shape[1]
        start = torch.stack([noise.uniform((edges,), seed, "phase") for seed in seeds])
        # No gradient: the network must not learn where a peak lies through its phase.
        with torch.no_grad():
            phase = propagate(magnitude, 2 * math.pi * start.to(mel.device), self.fft, self.hop)
        return torch.polar(magnitude, phase) + magnitude * torch.complex(real, imaginary)

    def sound(self, spectrum: Tensor) -> Tensor:
        """Complex [B, fft // 2 + 1, T + 1] -> [B, 1, T * hop]."""
        magnitude = spectrum.abs()
        sound = self._synthesise(spectrum)
        for _ in range(_ROUNDS):
            now = torch.stft(sound, self.fft, self.hop, window=self.window, return_complex=True)
            sound = self._synthesise(magnitude * (now / now.abs().clamp_min(_LEAST)))
        return sound[:, None]

    def _synthesise(self, spectrum: Tensor) -> Tensor:
        length = (spectrum.shape[-1] - 1) * self.hop
        return torch.istft(spectrum, self.fft, self.hop, window=self.window, length=length)


class _Block(nn.Module):
    """A ConvNeXt block over frames: [B, T, width] -> the same shape."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1 / blocks))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(F.gelu(self.up(self.norm(y))))
