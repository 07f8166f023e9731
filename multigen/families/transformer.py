"""What the families whose network is a flow transformer with joint attention have in common."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from multigen.core.backbone import NoiseLevel
from multigen.core.conditioning import Cond
from multigen.families.family import Family, count_tokens
from multigen.registry import Part


class TransformerFamily(Family):
    """A transformer of latents, patch by patch, that attends to text and picture together and hears all padding.

    usual  side of the latents where the configuration does not state it
    """

    network = "transformer"
    c_noise: ClassVar[NoiseLevel] = "sigma"
    usual: ClassVar[int] = 128

    @property
    def positions(self) -> int | None:
        """Most patches along a side; None: any number."""
        return self.entry("pos_embed_max_size", int | None, None)

    def media(self) -> Mapping[str, Any]:
        """The pixels of the latents that it was trained on."""
        return {"size": self.entry("sample_size", int, self.usual) * self.factor}

    def codec(self, source: str) -> Part:
        """Its VAE, with sides of whole patches."""
        return Part("vae", {"path": source, "multiple": self.patch})

    def shared(self, cond: Cond) -> Hashable:
        """Equal numbers of tokens: it has no mask for padding."""
        return count_tokens(cond)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for sides of latents that are no whole patches, or beyond the table of positions."""
        most = self.positions
        for side in shape[-2:]:
            near = max(round(side / self.patch), 1)
            near = (near if most is None else min(near, most)) * self.patch
            if near != side:
                given, best = side * self.factor, near * self.factor
                end = "" if most is None else f", up to {most * self.patch * self.factor}"
                raise ValueError(
                    f"{given} pixels are not allowed. Allowed: multiples of {self.patch * self.factor}{end}; the "
                    f"nearest is {best}."
                )
