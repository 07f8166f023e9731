"""What all adapters of networks of diffusers are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor

from multigen.core.backbone import Lead


class Adapter(ABC):
    """Weights beside a network; they are neither trained nor saved with it."""

    @abstractmethod
    def lead(self, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """Return what a picture [3, H, W] in [-1, 1] says, for samples [C, *D]."""

    @abstractmethod
    def leading(self, network: Any, told: Tensor) -> AbstractContextManager[None]:
        """Lead the network's calls inside the block by what the pictures of its rows say, [B, ...]."""
