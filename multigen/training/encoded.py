"""A cache of what a codec makes of media: mel components, latents. Kept between runs, for media that do not vary."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal, stream
from multigen.datasets import Dataset, cache_folder
from multigen.errors import MediaError

log = logging.getLogger(__name__)

_SUFFIX = ".x0"
_CRC = 4  # bytes before the numbers
_PROBED = 3  # items that are drawn twice, to see whether they come out the same


class Encoded:
    """x0 of media, by their content and by all that the codec does to it; `gib` GiB on disk for all codecs together.

    What an entry holds was encoded alone, so that it depends on nothing but its medium: a run that finds it and one
    that does not are the same, bit for bit. Entries are checked when they are read, and made again where they are
    damaged. The oldest go when a run begins with too many; a full cache takes no more.
    """

    def __init__(self, codec: Codec, shape: tuple[int, ...], gib: float, device: torch.device) -> None:
        self.codec, self.device = codec, device
        self.shape = codec.shape(shape)
        root = cache_folder("encoded")
        self.folder = root / self._key(shape)
        self.folder.mkdir(exist_ok=True)
        self.room = round(gib * 2**30) - _trim(root, gib * 2**30)
        self.hits = self.misses = 0

    def __call__(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1], on the CPU -> [B, C', *D'] on the device."""
        return torch.stack([self._row(one) for one in media]).to(self.device)

    def _row(self, medium: Tensor) -> Tensor:
        content = medium.contiguous().numpy().tobytes()
        path = self.folder / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}{_SUFFIX}"
        found = self._read(path)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        x = self.codec.encode(medium[None].to(self.device))[0].float().cpu()
        self._write(path, x)
        return x

    def _read(self, path: Path) -> Tensor | None:
        """What an entry holds; None where there is none, or it is damaged."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        crc = int.from_bytes(content[:_CRC], "big")
        if len(content) != self._size or zlib.crc32(content[_CRC:]) != crc:
            return None
        return torch.from_numpy(np.frombuffer(content, np.float32, offset=_CRC).copy()).reshape(self.shape)

    @property
    def _size(self) -> int:
        return _CRC + 4 * int(np.prod(self.shape))

    def _write(self, path: Path, x: Tensor) -> None:
        if self.room < self._size:
            return
        numbers = x.contiguous().numpy().tobytes()
        # Not fsynced: what a crash leaves half is seen by its checksum.
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}")
        try:
            temporary.write_bytes(zlib.crc32(numbers).to_bytes(_CRC, "big") + numbers)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self.room = 0
            log.warning("%s: nothing more is kept there (%s)", self.folder, error)
            return
        self.room -= self._size

    def _key(self, shape: tuple[int, ...]) -> str:
        """A hash of what the codec makes of loud and of soft noise: its settings, statistics and weights show in it."""
        digest = hashlib.blake2b(repr((1, shape, self.shape)).encode(), digest_size=12)
        with torch.no_grad():
            for level in (0.3, 1e-3):
                probe = (level * normal(shape, 0, "codec")).clamp(-1, 1)
                x = self.codec.encode(probe[None].to(self.device))
                digest.update(x.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def varies(dataset: Dataset, seed: int) -> bool:
    """Whether media are drawn differently each time, as crops and augmentation do: then a cache never helps."""
    for index in _probed(dataset):
        try:
            one, other = (dataset.draw(index, stream(seed, "varies", k))["media"] for k in (0, 1))
        except MediaError:
            continue
        if not torch.equal(one, other):
            return True
    return False


def _probed(dataset: Dataset) -> Iterator[int]:
    indices = dataset.split()[0]
    for k in range(min(_PROBED, len(indices))):
        yield indices[k * len(indices) // _PROBED]


def _trim(root: Path, limit: float) -> int:
    """Bytes of all entries, after the oldest were removed where they are over the limit."""
    entries = []
    for path in root.glob(f"*/*{_SUFFIX}"):
        try:
            status = path.stat()
        except OSError:  # another run removed it
            continue
        entries.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size
    return total
