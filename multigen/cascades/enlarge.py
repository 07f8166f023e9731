"""Super-resolution: the condition is the smaller medium, enlarged, with noise on it.

    grid = cat(sqrt(1 - s²) z + s eps, s)

with z the enlarged medium in model space. The noise hides what the stage before does otherwise than a downscaled
medium, and the network is told how much there is: conditioning augmentation (Ho et al. 2021, arXiv:2106.15282,
section 4.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.cascades import Cascade
from multigen.cascades.resample import enlarged, reduced
from multigen.codecs import Codec
from multigen.core.denoiser import rows
from multigen.modalities import Modality
from multigen.registry import Given


class Enlarge(Cascade):
    """The medium of the stage before, enlarged: a finer picture, sound or video.

    factor  how much finer: the sides of a picture or of a video's frames, the rate of a sound; or a number for each
            axis, such as [2, 4, 4] for a video of twice the frame rate
    noise   the largest noise level that training adds, from 0 to below 1 (1: nothing is left to see)
    level   the noise level that sampling adds, at most `noise`
    plain   the network is shown the enlarged medium alone, as bicubic gives it: it is not told how much noise there is

    Raises ValueError for values out of range.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        codec: Given[Codec],
        factor: int | tuple[int, ...] = 4,
        noise: float = 0.4,
        level: float = 0.1,
        plain: bool = False,
    ) -> None:
        shape = modality.shape()
        axes = len(shape) - 1
        factors = ((1,) * (axes == 3) + (factor,) * min(axes, 2)) if isinstance(factor, int) else factor
        if len(factors) != axes or min(factors) < 1 or max(factors) < 2:
            raise ValueError(
                f"factor: {factor} is not allowed. Allowed: a whole number, 2 or more, or a list of {axes}, one for "
                "each axis."
            )
        if plain and axes != 2:
            raise ValueError("plain: true is not allowed for media that are no pictures. Allowed: false.")
        if not 0 <= noise < 1:
            raise ValueError(f"noise: {noise} is not allowed. Allowed: a number from 0 to below 1.")
        if not 0 <= level <= noise:
            raise ValueError(f"level: {level} is not allowed. Allowed: a number from 0 to noise, {noise}.")
        self.codec, self.factors, self.noise, self.level = codec, factors, noise, level
        self.plain = plain
        self.width = codec.shape(shape)[0] + (not plain)

    def before(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *d] of what is enlarged to [C, *D]."""
        return (shape[0], *(-(-n // f) for n, f in zip(shape[1:], self.factors, strict=True)))

    def after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape [C, *D] to which media [C, *d] are enlarged."""
        return (shape[0], *(n * f for n, f in zip(shape[1:], self.factors, strict=True)))

    def reduced(self, media: Tensor) -> Tensor:
        """Make media [B, C, *D] smaller."""
        return reduced(media, self.factors)

    def seen(self, former: Tensor, size: tuple[int, ...]) -> Tensor:
        """Enlarge media [B, C, *d] to `size` [*D] and encode them: [B, C', *D']."""
        if self.plain:
            sharp = F.interpolate(former, list(size), mode="bicubic", antialias=True)
            return self.codec.encode(sharp)
        return self.codec.encode(enlarged(former, size))

    def condition(self, seen: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """Add noise [B, C', *D'] at level [B], and a channel that says it: [B, C' + 1, *D']."""
        s = rows(level.to(seen), seen)
        noisy = (1 - s * s).sqrt() * seen + s * noise
        return noisy if self.plain else torch.cat([noisy, s.expand(-1, 1, *seen.shape[2:])], dim=1)
