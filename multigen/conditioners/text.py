"""Condition on text: token states for cross-attention, and their mean as a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from multigen.conditioners import Conditioner
from multigen.conditioners.disk_states import DiskStates
from multigen.conditioners.prompts import check_text, column, warn_of_length, warn_of_words
from multigen.conditioners.text_encoder import TextEncoder, packaged_folder
from multigen.core.conditioning import Cond, CondSpec
from multigen.storage.disk_cache import DiskCache
from multigen.storage.emoji_names import with_emoji_names


class Text(Conditioner):
    """Text through a frozen encoder; the unconditional condition is the empty prompt.

    path        a local transformers folder (BERT, T5 ... in safetensors); None: the packaged MiniLM, 384 wide
    tokens      give token states [B, L, K] with their mask, for cross-attention
    pooled      give their mean over the valid tokens, [B, K], as all-MiniLM-L6-v2 pools
    max_tokens  most tokens of a prompt, 4 to 512; longer prompts are cut

    Token states and the pooled vector have zero mean and unit variance over their channels. Nothing here is learned:
    the backbone projects both, and a checkpoint stays small. ValueError for other arguments.
    """

    text = True
    device_of: Tensor

    def __init__(
        self, *, path: str | None = None, tokens: bool = True, pooled: bool = True, max_tokens: int = 48
    ) -> None:
        super().__init__()
        if not (tokens or pooled):
            raise ValueError("tokens and pooled are both false, so text would have no effect")
        if not 4 <= max_tokens <= 512:
            raise ValueError(f"max_tokens: {max_tokens} is not allowed. Allowed: 4 to 512.")
        self.tokens, self.pooled = tokens, pooled
        folder = packaged_folder() if path is None else Path(path).expanduser()
        self.encoder = TextEncoder(folder, max_tokens)
        width = self.encoder.model.width
        self.spec = CondSpec(vector=width if pooled else 0, tokens=width if tokens else 0)
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B captions -> tokens [B, L, K], mask [B, L], vector [B, K], as far as they are asked for."""
        captions = [_normalised(c) for c in column(batch, "text", "text")]
        device = self.device_of.device
        if device.type != "cpu" and not self.encoder.uses_disk:
            return self._on_device(captions, device)
        states = self.encoder.states(captions, device)
        vector = tokens = mask = None
        if self.pooled:
            means = torch.stack([s.mean(0) for s in states])
            vector = self._moved(F.layer_norm(means, means.shape[-1:]))
        if self.tokens:
            tokens = self._moved(pad_sequence(states, batch_first=True))
            lengths = torch.tensor([len(s) for s in states])
            mask = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(tokens.device)
        return Cond(vector=vector, tokens=tokens, mask=mask)

    def _on_device(self, captions: Sequence[str], device: torch.device) -> Cond:
        found, dtype = self.encoder.device_states(captions, device), self.device_of.dtype
        vector = F.layer_norm(found.means, found.means.shape[-1:])
        return Cond(
            vector=vector.to(dtype) if self.pooled else None,
            tokens=found.tokens.to(dtype) if self.tokens else None,
            mask=found.mask if self.tokens else None,
        )

    def null(self, batch_size: int) -> Cond:
        """Return the condition of the empty prompt, [B, ...]."""
        return self({"text": [""]}).expand(batch_size)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"text": prompts}. MultigenError for invalid Unicode; warns of what is cut or not known."""
        for prompt in prompts:
            warn_of_words(self.encoder.unread_words(_normalised(prompt)))
            if self.encoder.is_too_long(_normalised(prompt)):
                warn_of_length(prompt, self.encoder.model.max_tokens)
        return {"text": list(prompts)}

    def words(self, prompt: str) -> list[str]:
        """Split a prompt into the tokens whose states the backbone attends to; empty without `tokens`."""
        return self.encoder.words(_normalised(prompt)) if self.tokens else []

    def use_cache(self, cache: DiskCache | None) -> DiskStates | None:
        """Keep the states of captions on disk, keyed by their text and by the encoder's files; None: no longer."""
        model, store = self.encoder.model, None
        if cache is not None:
            device = self.device_of.device
            store = DiskStates(
                cache, [model.folder], length=model.max_tokens, width=model.width, device=device
            )
        self.encoder.use_disk(store)
        return store

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device_of.device, self.device_of.dtype)


def _normalised(caption: object) -> str:
    """The caption with emoji as their names and each run of white space as one blank: variants are one caption."""
    return " ".join(with_emoji_names(check_text(caption)).split())
