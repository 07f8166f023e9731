"""Caches on disk, kept between runs: media as the codec encodes them, and states of texts (`train.cache`)."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.noise import normal, stream
from multigen.datasets import Dataset
from multigen.errors import MediaError
from multigen.storage.disk_cache import DiskCache, Shelf
from multigen.training.sizes import Sizes

log = logging.getLogger(__name__)

_PROBED = 3  # items that are drawn twice, to see whether they differ


class Encoded(Shelf):
    """Encoded media x0, keyed by their content and by everything that the codec does to it.

    Each entry was encoded alone, so it depends on nothing but its medium: a run that finds it equals, bit for bit, one
    that does not.
    """

    def __init__(self, codec: Codec, cache: DiskCache, device: torch.device) -> None:
        super().__init__(cache)
        self.codec, self.device = codec, device
        self._folders: dict[tuple[int, ...], str] = {}

    def __call__(self, media: Tensor) -> Tensor:
        """Encode media [B, C, *D] in [-1, 1], on the CPU, to x0 [B, C', *D'] on the device."""
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
        """Hash what the codec makes of loud and of quiet noise: its settings, statistics and weights show in it."""
        digest = hashlib.blake2b(repr((1, shape, self.codec.shape(shape))).encode(), digest_size=12)
        with torch.no_grad():
            for level in (0.3, 1e-3):
                probe = (level * normal(shape, 0, "codec")).clamp(-1, 1)
                x = self.codec.encode(probe[None].to(self.device))
                digest.update(x.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


@contextmanager
def caches(
    gib: float,
    codec: Codec,
    conditioner: Conditioner,
    dataset: Dataset,
    *,
    seed: int,
    sizes: Sizes | None,
    device: torch.device,
) -> Iterator[Encoded | None]:
    """Use a cache of `gib` GiB inside the block: for texts, and for media unless they vary.

    Yields the cache of encoded media, or None.
    """
    if gib <= 0:
        yield None
        return
    cache, media = DiskCache(gib), None
    if varies(dataset, seed, sizes):
        log.warning("train.cache: media are cropped or augmented anew each time, so they are not cached")
    else:
        media = Encoded(codec, cache, device)
    texts = conditioner.use_cache(cache)
    try:
        yield media
    finally:
        for what, kept in {"encoded media": media, "texts": texts}.items():
            if kept is not None:
                log.info("%s: %d from the cache, %d computed", what, kept.hits, kept.misses)
        conditioner.use_cache(None)


def varies(dataset: Dataset, seed: int, sizes: Sizes | None = None) -> bool:
    """Return whether items differ each time they are drawn, as crops and augmentation make them."""
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
