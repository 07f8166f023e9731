"""A codec maps media tensors to model space and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """Media [B, C, *D] <-> model space [B, C', *D']. Statistics are buffers, so that they travel in the checkpoint."""

    spread: float = 1.0  # about the standard deviation of the data in model space
    learns: bool = False  # whether it has weights to be trained, by a recipe without a backbone

    @abstractmethod
    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Model-space shape [C', *D'] of media of shape [C, *D]. ValueError if the codec cannot take them."""

    @abstractmethod
    def encode(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, C', *D']."""

    @abstractmethod
    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C', *D'] -> [B, C, *D]. Randomness inside (Griffin-Lim's phase, VAE sampling) is keyed by `seed`."""

    @abstractmethod
    def keeps(self, keep: Tensor) -> Tensor:
        """Where model space depends on nothing but what is kept of the media: bool [*D] -> bool [*D']."""

    @abstractmethod
    def fit(self, media: Iterable[Tensor]) -> None:
        """Set statistics from training media, each [C, *D]. Codecs without any ignore them without reading."""
