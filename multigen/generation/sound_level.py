"""The level of what is new in a sound: as loud as what is kept of it nearby, and panned alike."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from multigen.generation.masks import Source
from multigen.modalities.audio_channels import LAYOUTS, to_mono
from multigen.modalities.loudness import CEILING, Loudness, measure

_NEAR = 3.0  # s beside what is new, whose level and balance between the channels it takes over
_LOUDEST = 4.0  # the most that a channel is raised by for the balance
_MOST = 20.0  # dB: the most that what is new is raised or lowered by
_SHORTEST = 0.1  # s: what is shorter has no loudness of its own


def levelled(new: Tensor, source: Source, rate: float) -> Tensor:
    """A sound [C, N] with what is new as loud as what is kept nearby, in LUFS; without a mask, as the source.

    Each span has one gain. Its true peaks stay under -1 dB, or under those of what is kept where they are higher. What
    is silent, or next to silence, stays as it is.
    """
    old, keep = source.media.float(), source.keep
    if keep is None:
        return new * _gain(new, old, rate)
    gains, made = torch.ones(len(keep)), []
    for first, last in _spans(~keep):
        gain = _gain(new[:, first:last], old[:, _beside(keep, first, last, rate)], rate)
        made.append((first, last, gain))
    for k, (_, last, gain) in enumerate(made):  # up to half way to the next one: kept fades into what is new
        start = 0 if k == 0 else (made[k - 1][1] + made[k][0]) // 2
        end = len(keep) if k == len(made) - 1 else (last + made[k + 1][0]) // 2
        gains[start:end] = gain
    return new * gains


def panned(new: Tensor, source: Source, rate: float) -> Tensor:
    """A sound [C, N] whose channels are alike, each with its share of the level that the source has nearby."""
    old = source.media.float()
    near = torch.ones(old.shape[1], dtype=torch.bool) if source.keep is None else _near(source.keep, rate)
    heard = old[:, near]
    if not bool(heard.any()):
        return new
    mixed = torch.from_numpy(to_mono(heard.numpy())[0])[0]
    power = mixed.square().mean()
    gains = (heard.square().mean(1) / power).sqrt().clamp(max=_LOUDEST)
    signs = torch.where((heard * mixed).mean(1) < -0.5 * gains * power, -1.0, 1.0)
    return new * (gains * signs)[:, None]


def _gain(new: Tensor, kept: Tensor, rate: float) -> float:
    """The factor that makes one sound as loud as another."""
    if min(new.shape[1], kept.shape[1]) < _SHORTEST * rate:
        return 1.0
    mine, theirs = _loudness(new, rate), _loudness(kept, rate)
    if not math.isfinite(mine.lufs) or not math.isfinite(theirs.lufs):
        return 1.0
    wanted = max(-_MOST, min(_MOST, theirs.lufs - mine.lufs))
    return 10 ** (min(wanted, max(CEILING, theirs.peak) - mine.peak) / 20)


def _loudness(samples: Tensor, rate: float) -> Loudness:
    """Loudness of a sound [C, N]; of more channels than have places, that of the loudest."""
    if len(samples) not in LAYOUTS:
        samples = samples[samples.square().mean(1).argmax()][None]
    return measure(samples.detach().cpu().float().numpy(), round(rate))


def _beside(keep: Tensor, first: int, last: int, rate: float) -> Tensor:
    """What is kept within a few seconds of a span, bool [N]; all that is kept where that is nothing."""
    reach = round(_NEAR * rate)
    near = keep.clone()
    near[: max(0, first - reach)] = False
    near[last + reach :] = False
    return near if bool(near.any()) else keep


def _near(keep: Tensor, rate: float) -> Tensor:
    """What is kept within a few seconds of what is new, bool [N]."""
    near = torch.zeros_like(keep)
    for first, last in _spans(~keep):
        near |= _beside(keep, first, last, rate)
    return near if bool(near.any()) else keep


def _spans(where: Tensor) -> Iterator[tuple[int, int]]:
    """The runs of True in bool [N], each as its first place and the one after its last."""
    edges = torch.diff(
        where.int(), prepend=torch.zeros(1, dtype=torch.int), append=torch.zeros(1, dtype=torch.int)
    )
    yield from zip(
        torch.nonzero(edges > 0)[:, 0].tolist(), torch.nonzero(edges < 0)[:, 0].tolist(), strict=True
    )
