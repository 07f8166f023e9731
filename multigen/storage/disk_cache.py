"""A cache on disk for computed tensors: encoded media, states of texts. Keyed by content, kept between runs."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)

_SUFFIX = ".f32"
_CRC = 4  # bytes before the numbers


class DiskCache:
    """fp32 tensors in folders of $MULTIGEN_CACHE/encoded, at most `gib` GiB in total.

    A folder stands for the settings that its entries were computed with, the name of an entry for its input. Entries
    are verified when they are read; a damaged one counts as missing. The oldest are removed when a run begins with too
    many. A full cache takes no more.
    """

    def __init__(self, gib: float) -> None:
        self.root = cache_folder("encoded")
        self.room = round(gib * 2**30) - _trim(self.root, gib * 2**30)

    def path(self, folder: str, content: bytes) -> Path:
        """Return the path of the entry for a content, whether it exists or not."""
        return self.root / folder / f"{hashlib.blake2b(content, digest_size=16).hexdigest()}{_SUFFIX}"

    def read(self, path: Path, shape: tuple[int, ...]) -> Tensor | None:
        """Read an entry of `shape`, whose first axis may be -1. None if it is missing or damaged."""
        try:
            content = path.read_bytes()
        except OSError:
            return None
        numbers = content[_CRC:]
        row = 4 * math.prod(shape[1:])
        if not numbers or len(numbers) % row or shape[0] not in (-1, len(numbers) // row):
            return None
        if zlib.crc32(numbers) != int.from_bytes(content[:_CRC], "big"):
            return None
        return torch.from_numpy(np.frombuffer(numbers, np.float32).copy()).reshape(shape)

    def write(self, path: Path, x: Tensor) -> None:
        """Write an fp32 tensor on the CPU, if there is room."""
        size = _CRC + x.nbytes
        if self.room < size:
            return
        numbers = x.contiguous().numpy().tobytes()
        # Not flushed to disk: the checksum detects what a crash left incomplete.
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(zlib.crc32(numbers).to_bytes(_CRC, "big") + numbers)
            os.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            self.room = 0
            log.warning(
                "%s: the cache is full or cannot be written (%s); nothing more is added", path.parent, error
            )
            return
        self.room -= size


class Shelf:
    """One user of a cache. Counts how often an entry was found (`hits`) or had to be computed (`misses`)."""

    def __init__(self, cache: DiskCache) -> None:
        self.cache = cache
        self.hits = self.misses = 0

    def take(self, folder: str, content: bytes, shape: tuple[int, ...], make: Callable[[], Tensor]) -> Tensor:
        """Return the entry for a content. If it is missing or damaged, `make` computes it (fp32, on the CPU)."""
        path = self.cache.path(folder, content)
        found = self.cache.read(path, shape)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        made = make()
        self.cache.write(path, made)
        return made


def _trim(root: Path, limit: float) -> int:
    """Remove the oldest entries beyond the limit. Returns the bytes of those that remain."""
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
