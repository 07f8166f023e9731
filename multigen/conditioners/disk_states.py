"""Token states of texts on disk, so that a frozen encoder encodes each caption once across runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from multigen.storage.disk_cache import DiskCache, Shelf

_READ = (".json", ".txt", ".model", ".safetensors")  # what encoders and tokenizers are loaded from


class DiskStates(Shelf):
    """Token states [L, K] of texts, fp32 on the CPU, keyed by the text and by all that determines its states.

    folders  of the encoder and its tokenizer; the content of their files is part of the key, as are device and torch
    length   most tokens of a text
    width    K
    layer    which of the encoder's states they are

    Every entry was encoded alone, so a run that finds it equals one that does not, bit for bit.
    """

    def __init__(
        self,
        cache: DiskCache,
        folders: Sequence[Path],
        *,
        length: int,
        width: int,
        device: torch.device,
        layer: int | str | None = None,
    ) -> None:
        super().__init__(cache)
        self.width = width
        key = (1, length, width, device.type, torch.__version__, *([] if layer is None else [layer]))
        digest = hashlib.blake2b(repr(key).encode(), digest_size=12)
        for folder in folders:
            for path in sorted(p for p in folder.iterdir() if p.suffix in _READ and p.is_file()):
                with path.open("rb") as file:
                    digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
        self._folder = f"text-{digest.hexdigest()}"

    def __call__(self, texts: Iterable[str], make: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Return the states of each text; `make` encodes those that are missing or damaged."""
        shape = (-1, self.width)
        return {text: self.take(self._folder, text.encode(), shape, partial(make, text)) for text in texts}
