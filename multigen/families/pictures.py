"""Pictures as networks hear them: through CLIP's vision transformer (Radford et al. 2021, arXiv:2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.errors import MultigenError
from multigen.families.image_encoder import DEVIATION, MEAN, middle, normalised, shortest
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component

if TYPE_CHECKING:
    from multigen.families.family import Family

CLIP_VISION = Component("transformers", ("CLIPVisionModel", "CLIPVisionModelWithProjection"))
CLIP_PROCESSOR = Component(
    "transformers", ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil")
)


class PictureEncoder:
    """CLIP's vision encoder of a family's folder, and how its processor prepares pictures.

    MultigenError for a configuration that is none.
    """

    def __init__(self, family: Family, encoder: str, processor: str) -> None:
        self.folder, self.encoder = family.folder, family.part(encoder)
        self.place = family.folder / processor
        self._config: Mapping[str, Any] = diffusers_folder.component(
            family.folder, processor, family.components[processor]
        )
        self.mean = self._entry("image_mean", tuple[float, ...], MEAN)
        self.std = self._entry("image_std", tuple[float, ...], DEVIATION)

    def _entry(self, key: str, annotation: Any, default: Any) -> Any:
        return diffusers_folder.entry(self._config, self.place, key, annotation, default)

    def prepared(self, pictures: Tensor) -> Tensor:
        """[N, 3, H, W] in [-1, 1] -> [N, 3, h, w]: brought to its size, cut, and normalised."""
        made = pictures
        if self._entry("do_resize", bool, True):
            made = shortest(made, self._side("size", "shortest_edge"))
        if self._entry("do_center_crop", bool, True):
            made = middle(made, self._side("crop_size", "height"))
        return self.normalised(made)

    def normalised(self, pictures: Tensor) -> Tensor:
        """[N, 3, H, W] in [-1, 1] -> of the mean and standard deviation that it was trained with."""
        return normalised(pictures, self.mean, self.std)

    def _side(self, key: str, name: str) -> int:
        given = self._config.get(key, 224)
        side = given.get(name, given.get("height")) if isinstance(given, dict) else given
        if not isinstance(side, int) or side < 1:
            raise MultigenError(f"{self.place / CLIP_PROCESSOR.config}: {key}: {given!r} says no size")
        return side

    @torch.no_grad()
    def __call__(self, prepared: Tensor) -> Any:
        """Return what the encoder gives of prepared pictures [N, 3, h, w], in fp32."""
        with torch.autocast(prepared.device.type, enabled=False):
            return self.encoder.on(prepared.device)(prepared.float(), output_hidden_states=True)


def blurred_to(pictures: Tensor, side: int) -> Tensor:
    """[N, 3, H, W] -> [N, 3, side, side], each side by a factor of its own, as Stable Video Diffusion's CLIP saw them.

    A Gaussian of (factor - 1)/2 pixels, then bicubic between the centres of the corners.
    """
    factors = [n / side for n in pictures.shape[-2:]]
    for axis, factor in ((-2, factors[0]), (-1, factors[1])):
        sigma = max((factor - 1) / 2, 0.001)
        width = int(max(4 * sigma, 3)) | 1
        at = torch.arange(width, device=pictures.device, dtype=pictures.dtype) - width // 2
        kernel = torch.exp(-at.square() / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).view(1, 1, *((width, 1) if axis == -2 else (1, width)))
        pads = [0, 0, width // 2, width // 2] if axis == -2 else [width // 2, width // 2, 0, 0]
        flat = F.pad(pictures, pads, mode="reflect").flatten(0, 1)[:, None]
        pictures = F.conv2d(flat, kernel)[:, 0].unflatten(0, pictures.shape[:2])
    return F.interpolate(pictures, size=(side, side), mode="bicubic", align_corners=True)
