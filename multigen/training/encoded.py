"""A cache of what a codec makes of media: mel components, latents. Kept between runs, for media that do not vary."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal, stream
from multigen.datasets import Dataset
from multigen.errors import MediaError
from multigen.storage.disk_cache import DiskCache, Shelf
from multigen.training.sizes import Sizes

_PROBED = 3  # items that are drawn twice, to see whether they come out the same


class Encoded(Shelf):
    """x0 of media, by their content and by all that the codec does to it.

    What an entry holds was encoded alone, so that it depends on nothing but its medium: a run that finds it and one
    that does not are the same, bit for bit.
    """

    def __init__(self, codec: Codec, cache: DiskCache, device: torch.device) -> None:
        super().__init__(cache)
        self.codec, self.device = codec, device
        self._folders: dict[tuple[int, ...], str] = {}

    def __call__(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1], on the CPU -> [B, C', *D'] on the device."""
        return torch.stack([self._row(one) for one in media]).to(self.device)

    def _row(self, medium: Tensor) -> Tensor:
        shape = tuple(medium.shape)
        if shape not in self._folders:
            self._folders[shape] = self._key(shape)
        content = medium.contiguous().numpy().tobytes()
        return self.take(
            self._folders[shape],
            content,
            self.codec.shape(shape),
            lambda: self.codec.encode(medium[None].to(self.device))[0].float().cpu(),
        )

    def _key(self, shape: tuple[int, ...]) -> str:
        """A hash of what the codec makes of loud and of soft noise: its settings, statistics and weights show in it."""
        digest = hashlib.blake2b(repr((1, shape, self.codec.shape(shape))).encode(), digest_size=12)
        with torch.no_grad():
            for level in (0.3, 1e-3):
                probe = (level * normal(shape, 0, "codec")).clamp(-1, 1)
                x = self.codec.encode(probe[None].to(self.device))
                digest.update(x.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def varies(dataset: Dataset, seed: int, sizes: Sizes | None = None) -> bool:
    """Whether media are drawn differently each time, as crops and augmentation do: then a cache never helps."""
    for index in _probed(dataset):
        try:
            one, other = (dataset.draw(index, stream(seed, "varies", k))["media"] for k in (0, 1))
        except MediaError:
            continue
        if not torch.equal(one, other) or (sizes is not None and sizes.crops(one)):
            return True
    return False


def _probed(dataset: Dataset) -> Iterator[int]:
    indices = dataset.split()[0]
    for k in range(min(_PROBED, len(indices))):
        yield indices[k * len(indices) // _PROBED]
