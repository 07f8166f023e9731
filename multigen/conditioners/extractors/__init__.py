"""Extractors (kind "extractor"): what a model is told of a medium that it makes another one for.

A part of this kind is built for the modality of that medium. Some compute their features, some learn them together with
the network: then they are trained, averaged and saved with the conditioner.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from multigen.errors import RecipeError
from multigen.modalities import Modality


class Extractor(nn.Module, ABC):
    """Media -> features in places of their own.

    width  features in each place
    axes   names of the axes that the places have (`multigen.modalities.TIME` ...), in the order of the media's
    """

    width: int
    axes: tuple[str, ...]

    @abstractmethod
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, width, *D'], about -1 to 1; D' has the axes `axes`."""


def check_axes(modality: Modality, wanted: tuple[tuple[str, ...], ...], name: str) -> None:
    """RecipeError unless the media's axes are one of `wanted`."""
    if modality.axes not in wanted:
        takes = " or ".join(" x ".join(axes) for axes in wanted)
        raise RecipeError(
            f"conditioner.extract: {name} takes media of {takes}; those of the modality {modality.name} are of "
            f"{' x '.join(modality.axes) or 'other axes'}"
        )
