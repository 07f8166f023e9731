"""Smaller and larger copies of media, for one, two and three axes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.modalities.alpha import has_alpha, premultiplied, straight


def reduced(media: Tensor, factors: Sequence[int]) -> Tensor:
    """Media [B, C, *D], coarser by a factor on each axis; a size that it does not divide is rounded up.

    Pixels become the mean of the area that they cover, frames are left out, a sound keeps what is below its new
    Nyquist frequency.
    """
    sizes = [-(-n // f) for n, f in zip(media.shape[2:], factors, strict=True)]
    if media.ndim == 3:
        return _sound(media, sizes[0])
    if media.ndim == 5:
        media = media[:, :, :: factors[0]]
    alpha = has_alpha(media, 1)
    media = premultiplied(media, 1) if alpha else media
    flat = F.interpolate(media.flatten(0, -3)[:, None], size=sizes[-2:], mode="area")
    made = flat[:, 0].unflatten(0, media.shape[:-2])
    return straight(made, 1) if alpha else made


def enlarged(media: Tensor, size: Sequence[int]) -> Tensor:
    """Media [B, C, *d] at a finer size [*D]: bicubic in space, linear in time, a sound without new frequencies."""
    if media.ndim == 3:
        return _sound(media, size[0])
    if media.ndim == 5:
        media = _frames(media, size[0])
    if tuple(media.shape[-2:]) == tuple(size[-2:]):
        return media
    alpha = has_alpha(media, 1)
    media = premultiplied(media, 1) if alpha else media
    flat = F.interpolate(media.flatten(0, -3)[:, None], size=list(size[-2:]), mode="bicubic")
    made = flat[:, 0].unflatten(0, media.shape[:-2]).clamp(-1, 1)
    return straight(made, 1) if alpha else made


def _frames(media: Tensor, count: int) -> Tensor:
    """[B, C, t, H, W] -> [B, C, count, H, W]; every frame stays at its time, and the last one goes on."""
    there = media.shape[2]
    if there == count:
        return media
    place = (torch.arange(count, device=media.device) / -(-count // there)).clamp(max=there - 1)
    first = place.long()
    share = (place - first).to(media).view(-1, 1, 1)
    return torch.lerp(media[:, :, first], media[:, :, (first + 1).clamp(max=there - 1)], share)


def _sound(media: Tensor, length: int) -> Tensor:
    """[B, C, n] -> [B, C, length]: the frequencies that both have, through the Fourier transform."""
    n = media.shape[-1]
    if n == length:
        return media
    bins = (min(n, length) + 1) // 2  # without the Nyquist frequency, which has no phase
    spectrum = torch.fft.rfft(media)[..., :bins]
    return torch.fft.irfft(spectrum, n=length) * (length / n)
