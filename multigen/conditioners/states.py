"""States of texts kept on disk between runs, so that a frozen encoder sees each caption once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen.disk_cache import DiskCache

_READ = (".json", ".txt", ".model", ".safetensors")  # what encoders and tokenizers are loaded from


class States:
    """Token states [L, K] of texts, fp32 on the CPU, by the text and by all that the encoder makes of it.

    folders   the encoder's and its tokenizer's: the content of their files is in the key, as are the device and torch
    length    tokens at most
    width     K

    What an entry holds was encoded alone: a run that finds it and one that does not are the same, bit for bit.
    """

    def __init__(
        self, cache: DiskCache, folders: Sequence[Path], *, length: int, width: int, device: torch.device
    ) -> None:
        self.cache, self.width = cache, width
        self.hits = self.misses = 0
        digest = hashlib.blake2b(
            repr((1, length, width, device.type, torch.__version__)).encode(), digest_size=12
        )
        for folder in folders:
            for path in sorted(p for p in folder.iterdir() if p.suffix in _READ and p.is_file()):
                with path.open("rb") as file:
                    digest.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
        self._folder = f"text-{digest.hexdigest()}"

    def __call__(self, texts: Iterable[str], make: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The states of each text; `make` encodes one that is not there, or damaged."""
        found: dict[str, Tensor] = {}
        for text in texts:
            path = self.cache.path(self._folder, text.encode())
            states = self.cache.read(path, (-1, self.width))
            if states is None:
                self.misses += 1
                states = make(text)
                self.cache.write(path, states)
            else:
                self.hits += 1
            found[text] = states
        return found
