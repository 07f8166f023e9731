"""Embeddings: the network is told what a picture says, by a prior or by an image encoder.

Ramesh et al. 2022 (arXiv:2204.06125), section 2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multigen.cascades import Link
from multigen.core.conditioning import Cond
from multigen.families import open_family
from multigen.families.embeddings import TOLD, EmbeddingFamily
from multigen.families.image_encoder import ImageEncoder
from multigen.modalities import Modality
from multigen.modalities.embedding import Embedding as Embeddings
from multigen.storage import diffusers_folder

_MARK = "conditional"  # in `Cond.extra`: 1 in conditional calls, 0 in unconditional ones


class Embedding(Link):
    """The embedding of the stage before, or of a picture.

    path   the folder of the network that is told it, or its id on the hub (hf:owner/name)
    level  index of the noise on it, for networks that know how much there is: 0 is least

    ValueError for a network that is told none.
    """

    width = 0
    replaces = False
    hint = (
        "it draws what an embedding says. Name the prior that makes one of the prompt, stages=[PRIOR], or give a "
        "picture: --image FILE"
    )

    def __init__(self, *, path: str | None = None, level: int = 0) -> None:
        family = open_family(diffusers_folder.located(path))
        if not isinstance(family, EmbeddingFamily):
            raise ValueError(f"path: {path}: the network of {family.title} is told no embedding")
        self.family, self.level = family, level
        self._encoder: ImageEncoder | None = None  # of the stage before

    @property
    def encoder(self) -> ImageEncoder:
        """The encoder of pictures. ValueError where neither the network's folder nor the prior's has one."""
        found = self.family.image_encoder or self._encoder
        if found is None:
            raise ValueError(
                f"{self.family.title} has no image encoder here. Name a prior that has one: stages=[PRIOR]"
            )
        if found.width != self.family.embedding_width:
            raise ValueError(
                f"the image encoder gives {found.width} numbers; the network of {self.family.title} takes "
                f"{self.family.embedding_width}"
            )
        return found

    def follow(self, former: Modality) -> None:
        """Take the prior's encoder. ValueError for a stage that makes no embeddings, or of another width."""
        if not isinstance(former, Embeddings):
            raise ValueError(
                f"stages: it makes {former.name}; {self.family.title} takes embeddings of a prior"
            )
        if former.width != self.family.embedding_width:
            raise ValueError(
                f"stages: the prior is of another family: its embeddings have {former.width} numbers, and the network "
                f"of {self.family.title} takes {self.family.embedding_width}"
            )
        self._encoder = former.encoder

    def before(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """An embedding, whatever the size."""
        return None

    def seen(self, former: Tensor, size: tuple[int, ...]) -> Tensor:
        """[B, K, 1] -> [B, K]."""
        return former.flatten(1)

    def condition(self, seen: Tensor, level: Tensor, noise: Tensor) -> Tensor:
        """What the network is told in conditional and in unconditional calls, [B, 2, K']."""
        shown = self.family.noised(seen, int(level[0]), noise)
        return torch.stack([shown, self.family.hidden(shown, self._encoder)], dim=1)

    def blank(self, cond: Cond) -> Cond:
        """With the embedding that unconditional calls are told."""
        cond = self.mark(cond, conditional=False)
        zeros = torch.zeros(1, self.family.embedding_width, device=cond.extra[_MARK].device)
        return self.told(cond, self.condition(zeros, zeros.new_full((1,), self.level), zeros), lambda x: x)

    def mark(self, cond: Cond, conditional: bool) -> Cond:
        """Say which of the two a call is told."""
        parts = (cond.vector, cond.tokens, *cond.extra.values())
        device = next((part.device for part in parts if part is not None), None)
        return cond.with_extra(_MARK, torch.full((1, 1), float(conditional), device=device))

    def told(self, cond: Cond, condition: Tensor, crop: Callable[[Tensor], Tensor]) -> Cond:
        """Add the embedding, [B, K']."""
        mark = cond.extra[_MARK].to(condition)
        return cond.with_extra(TOLD, torch.where(mark > 0, condition[:, 0], condition[:, 1]))
