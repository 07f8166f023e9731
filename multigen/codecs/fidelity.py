"""How near a copy is to its original: PSNR and SSIM of pictures and videos, the log-mel error of sounds."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.codecs.mel_settings import MelSettings

_RANGE = 2.0  # from -1 to 1
_WINDOW, _SIGMA = 11, 1.5  # px
_C1, _C2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2


def psnr(copy: Tensor, original: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of media [B, C, *D] in [-1, 1], dB: [B]. Equal media give infinity.

    10 log10(2^2 / mean square error)
    """
    error = (copy.float() - original.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(_RANGE**2 / error)


def ssim(copy: Tensor, original: Tensor) -> Tensor:
    """Structural similarity of pictures [B, C, H, W] or videos [B, C, T, H, W] in [-1, 1]: [B], 1 for equal ones.

    Wang et al. 2004 ("Image quality assessment: from error visibility to structural similarity"), eq. 13, under a
    Gaussian of deviation 1.5 px, mean over places, channels and frames. The window of 11 px is smaller where the media
    are.
    """
    a, b = (x.float().reshape(-1, 1, *x.shape[-2:]) for x in (copy, original))
    mean_a, mean_b = _blurred(a), _blurred(b)
    var_a, var_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    both = _blurred(a * b) - mean_a * mean_b
    like = (2 * mean_a * mean_b + _C1) * (2 * both + _C2)
    found = like / ((mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2))
    return found.reshape(len(copy), -1).mean(1)


def _blurred(x: Tensor) -> Tensor:
    """Weighted means of [N, 1, H, W] over the windows that lie within it."""
    sides = [min(_WINDOW, n - (n + 1) % 2) for n in x.shape[-2:]]
    for axis, side in zip((2, 3), sides, strict=True):
        line = torch.exp(-0.5 * ((torch.arange(side, device=x.device) - side // 2) / _SIGMA).square())
        shape = [1, 1, side, 1] if axis == 2 else [1, 1, 1, side]
        x = F.conv2d(x, (line / line.sum()).reshape(shape))
    return x


class LogMel(nn.Module):
    """The log-mel error of sounds at `rate` Hz, whatever codec they come from: 80 bins, a window of about 46 ms."""

    window: Tensor
    filters: Tensor

    def __init__(self, rate: int, *, bins: int = 80, floor: float = 1e-5) -> None:
        super().__init__()
        self.fft = 2 ** max(round(torch.tensor(0.046 * rate).log2().item()), 7)
        settings = MelSettings(rate, self.fft, self.fft // 4, bins, None, 0.0, rate / 2, floor)
        self.floor = floor
        self.register_buffer("window", torch.hann_window(self.fft), persistent=False)
        self.register_buffer("filters", settings.filters() * (2 / self.fft), persistent=False)

    def forward(self, copy: Tensor, original: Tensor) -> Tensor:
        """Mean absolute difference of the logarithms of mel magnitudes of [B, C, N] in [-1, 1]: [B]."""
        return (self.frames(copy) - self.frames(original)).abs().flatten(1).mean(1)

    def frames(self, sound: Tensor) -> Tensor:
        """[B, C, N] -> log(magnitude + floor) [B, C, T, bins]. Beyond the ends there is silence."""
        padded = F.pad(sound.flatten(0, 1).float(), (self.fft // 2, self.fft // 2))
        spectrum = torch.stft(
            padded, self.fft, self.fft // 4, window=self.window, center=False, return_complex=True
        )
        found = (spectrum.abs().transpose(1, 2) @ self.filters + self.floor).log()
        return found.unflatten(0, sound.shape[:2])
