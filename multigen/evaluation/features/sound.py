"""Sound as networks take it: mono at one rate, cut into windows."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from multigen.modalities import Modality
from multigen.storage.torchaudio_shim import import_torchaudio


def sample_rate(modality: Modality) -> int:
    """Sampling rate of an audio modality in Hz."""
    return modality.shape(duration=1.0)[1]


def mono(media: Tensor, rate: int, target: int) -> Tensor:
    """[B, C, N] at `rate` Hz -> [B, N'] at `target` Hz: the mean of the channels, then torchaudio's sinc resampling.

    The result has nothing above half the lower rate, so compare only sets of one rate.
    """
    sound = media.float().mean(1)
    return sound if rate == target else import_torchaudio().functional.resample(sound, rate, target)


def windows(sound: Tensor, size: int, hop: int) -> Tensor:
    """[B, N] -> [B, K, size]: all windows that lie inside, at least one; a shorter sound is padded with silence."""
    missing = max(0, size - sound.shape[1])
    return F.pad(sound, (0, missing)).unfold(1, size, hop)
