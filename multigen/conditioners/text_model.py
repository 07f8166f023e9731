"""A frozen text encoder of the transformers library, with its tokenizer, from a local folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from multigen.conditioners.bert import load_bert
from multigen.conditioners.prompts import unread
from multigen.core.upload import side_stream, upload
from multigen.errors import MultigenError, reason
from multigen.storage.torchaudio_shim import import_torchaudio


class TextModel:
    """Captions -> token numbers -> token states, each state of zero mean and unit variance over its K channels.

    folder      a local transformers folder with safetensors weights
    max_tokens  most tokens of a caption; longer captions are cut

    Tokenizer and weights are loaded when they are first needed. MultigenError for a folder that holds no encoder.
    """

    def __init__(self, folder: Path, max_tokens: int) -> None:
        self.folder, self.max_tokens = folder, max_tokens
        self.width = _width(folder)
        self._tokenizer: Any = None
        self._network: Any = None

    @property
    def loaded(self) -> tuple[Any, Any]:
        """Tokenizer and network."""
        if self._network is None:
            self._tokenizer, self._network = _load(self.folder)
            self.max_tokens = min(self.max_tokens, self._tokenizer.model_max_length)
        return self._tokenizer, self._network

    @property
    def is_loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._network is not None

    def is_too_long(self, caption: str) -> bool:
        """Whether a caption has more than `max_tokens` tokens, so that its end is cut."""
        tokenizer, _ = self.loaded
        return len(tokenizer(caption).input_ids) > self.max_tokens

    def words(self, caption: str) -> list[str]:
        """Return the caption's tokens as text, one for each state."""
        tokenizer, _ = self.loaded
        return [str(token) for token in tokenizer.convert_ids_to_tokens(self.tokens(caption))]

    def unread_words(self, caption: str) -> list[str]:
        """Return the words of a caption that the tokenizer does not know."""
        tokenizer, _ = self.loaded
        return unread(caption.split(), tokenizer.tokenize, tokenizer.unk_token)

    def tokens(self, caption: str) -> list[int]:
        """Return the caption's token numbers, at least one."""
        tokenizer, _ = self.loaded
        ids = tokenizer(caption, truncation=True, max_length=self.max_tokens).input_ids
        # Without special tokens the empty prompt has no token at all, and attention needs one.
        blanks = (
            tokenizer.bos_token_id,
            tokenizer.eos_token_id,
            tokenizer.pad_token_id,
            tokenizer.unk_token_id,
            0,
        )
        return ids or [next(i for i in blanks if i is not None)]

    def sorted_tokens(self, captions: Sequence[str]) -> list[tuple[str, list[int]]]:
        """Return captions with their token numbers, the shortest first."""
        if not captions:
            return []
        tokenizer, _ = self.loaded
        found = tokenizer(list(captions), truncation=True, max_length=self.max_tokens).input_ids
        pairs = [(c, ids or self.tokens(c)) for c, ids in zip(captions, found, strict=True)]
        return sorted(pairs, key=lambda pair: len(pair[1]))

    def states(self, ids: Sequence[list[int]], device: torch.device) -> Tensor:
        """Encode captions of one length: token numbers -> states [B, L, K] on the device."""
        tokens = torch.tensor(ids, device=device)
        _, network = self.loaded
        network.to(device)
        states = network(input_ids=tokens, attention_mask=torch.ones_like(tokens)).last_hidden_state
        return F.layer_norm(states.float(), states.shape[-1:])

    def padded_states(self, ids: Sequence[list[int]], device: torch.device) -> Tensor:
        """Encode captions of any length: token numbers -> states [B, L, K]; those beyond a caption's end mean nothing.

        It runs on a CUDA stream of its own, because the network reads the mask: on the main stream the host would wait
        for everything that is queued.
        """
        tokens = pad_sequence([torch.tensor(i) for i in ids], batch_first=True)
        mask = torch.arange(tokens.shape[1]) < torch.tensor([len(i) for i in ids])[:, None]
        _, network = self.loaded
        network.to(device)
        with side_stream(device):
            tokens, mask = upload(tokens, device), upload(mask.long(), device)
            states = network(input_ids=tokens, attention_mask=mask).last_hidden_state
            states = F.layer_norm(states.float(), states.shape[-1:])
        if device.type == "cuda":
            states.record_stream(torch.cuda.current_stream(device))
        return states


def _load(folder: Path) -> tuple[Any, Any]:
    """Tokenizer and network of a transformers folder: no download, no pickle, none of the folder's own code."""
    if (plain := load_bert(folder)) is not None:
        return plain
    import_torchaudio()  # transformers imports it if it is installed
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
        raise MultigenError(f"{folder}: cannot be loaded as a text encoder ({reason(error)})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    # Missing weights would be random. Pooling heads are often not saved, and are not used here.
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
        raise MultigenError(f"{config}: not readable as JSON ({reason(error)})") from error
    names = ("hidden_size", "d_model", "dim")  # BERT and most others, T5, DistilBERT
    width = next((values[n] for n in names if n in values), None) if isinstance(values, dict) else None
    if not isinstance(width, int) or width < 1:
        raise MultigenError(f"{config}: it describes no text encoder (it has none of {', '.join(names)})")
    return width
