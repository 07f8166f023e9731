"""Embeddings: what a picture says, as numbers [K, 1]; made by priors, and read from files or from pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import Image as PillowImage
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen.errors import MediaError, message, reason
from multigen.families.image_encoder import ImageEncoder
from multigen.modalities import Info, Modality
from multigen.modalities.image import Image
from multigen.modalities.member import Source, as_source
from multigen.storage.files import atomic

NAME = "image_embeds"  # of the tensor in a file
_LARGEST = 64 * 1024**2  # bytes of a file


class Embedding(Modality):
    """The modality of embeddings.

    width    K
    encoder  folder of the image encoder that gives such embeddings of pictures; None: pictures are not read
    """

    name = "embedding"
    suffixes = (".safetensors", *Image.suffixes)
    writes = (".safetensors",)
    suffix = ".safetensors"
    animation = ""
    edited = False

    def __init__(self, *, width: int = 768, encoder: str | None = None) -> None:
        if width < 1:
            raise ValueError(f"width: {width} is not allowed. Allowed: 1 or more.")
        self.width = width
        self.encoder = None if encoder is None else ImageEncoder(Path(encoder).expanduser())
        if self.encoder is not None and self.encoder.width != width:
            raise ValueError(
                f"encoder: {encoder} gives embeddings of {self.encoder.width} numbers. Allowed: {width}, the width."
            )

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        """Return (K, 1). ValueError for a size or a duration, which an embedding does not have."""
        if size is not None or duration is not None:
            raise ValueError("an embedding has no size and no duration; leave them out.")
        return (self.width, 1)

    def info(self, path: Source) -> Info:
        """Nothing that a header says applies. MediaError if the file is missing."""
        if not Path(str(path)).is_file():
            raise MediaError(f"{path}: no such file")
        return Info()

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read [K, 1] from a file of it, or make it of a picture. MediaError names the fault."""
        place = Path(str(path))
        if place.suffix.lower() != ".safetensors":
            if self.encoder is None:
                raise MediaError(
                    f"{path}: no embedding, and this model has no image encoder to make one of it"
                )
            return self.encoder.embedding(Image().read(as_source(path))[None])[0][:, None]
        try:
            if place.stat().st_size > _LARGEST:
                raise MediaError(f"{path}: larger than {_LARGEST:,} bytes")
            found = load_file(place)
        except (SafetensorError, OSError) as error:
            raise MediaError(f"{path}: not a readable safetensors file ({reason(error)})") from error
        tensor = found.get(NAME)
        if tensor is None or tensor.numel() != self.width:
            raise MediaError(f"{path}: it holds no tensor {NAME} of {self.width} numbers")
        return tensor.float().reshape(self.width, 1)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Return it as it is: embeddings have one size."""
        return media

    def write(self, media: Tensor, path: Path) -> None:
        """Write [K, 1] as a safetensors file with the tensor `image_embeds` [1, K], atomically."""
        path = Path(path)
        if path.suffix.lower() not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        with atomic(path) as temporary:
            save_file({NAME: media.reshape(1, -1).contiguous()}, temporary)

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """Draw a row of levels for each, dark to light from -2 to 2 standard deviations."""
        rows = torch.stack([m.flatten() / m.std().clamp_min(1e-6) for m in media])
        levels = ((rows.clamp(-2, 2) + 2) * 63.75).to(torch.uint8).repeat_interleave(8, 0)
        return PillowImage.fromarray(levels.numpy())

    def html(self, media: Tensor) -> str:
        """Return the first numbers."""
        return f"<code>{[round(v, 3) for v in media.flatten()[:8].tolist()]} ...</code>"

    def describe(self, shape: tuple[int, ...] | list[int]) -> str:  # type: ignore[override]
        """Say how many numbers there are."""
        return f"{shape[0]} numbers"
