"""What the families have in common whose network is told what a picture says, as an embedding."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.errors import MultigenError
from multigen.families.family import Family
from multigen.families.image_encoder import ImageEncoder

TOLD = "embedding"  # in `Cond.extra`: what the network is told


class EmbeddingFamily(Family):
    """A network that draws what an embedding says: of a prior, or of a picture.

    vision   sub-folder of the image encoder that its folder has
    """

    vision: str | None = None

    @property
    @abstractmethod
    def embedding_width(self) -> int:
        """Width of the embedding."""

    @cached_property
    def image_encoder(self) -> ImageEncoder | None:
        """The encoder of pictures, where its folder has one."""
        if self.vision is None or self.listed[self.vision] is None:
            return None
        return ImageEncoder(self.folder / self.vision)

    def noised(self, embedding: Tensor, level: int, noise: Tensor) -> Tensor:
        """Return what the network is told of embeddings [B, K], with noise [B, K] at a level. By default themselves.

        MultigenError for a level that it does not know.
        """
        if level:
            raise MultigenError(f"cascade.level: {level} is not allowed. Allowed: 0, for {self.title}.")
        return embedding

    @abstractmethod
    def hidden(self, told: Tensor, encoder: ImageEncoder | None) -> Tensor:
        """Return what it is told in unconditional calls, for told [B, K']; encoder: of the prior."""


def told(cond: Cond) -> Tensor:
    """What the network is told, [B, K']."""
    return cond.extra[TOLD]
