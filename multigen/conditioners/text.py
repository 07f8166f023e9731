"""Conditions on text: token states for cross-attention, and their mean as a vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from multigen.conditioners import column, warn_of_length
from multigen.conditioners.encoder import Encoder, packaged_folder
from multigen.conditioners.states import States
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError, message
from multigen.storage.disk_cache import DiskCache


class Text(nn.Module):
    """Text through a frozen encoder; the null condition is the empty prompt.

    path: a local transformers folder (BERT, T5 ... in safetensors); null: the packaged MiniLM, 384 wide
    tokens: give token states [B, L, K] with their mask, for cross-attention
    pooled: give their mean over the valid tokens, [B, K] (the pooling that all-MiniLM-L6-v2 was trained with)
    max_tokens: longer text is cut

    Token states and the pooled vector have zero mean and unit variance over their channels. Nothing here is
    learned: the backbone has its own projections of both, and a checkpoint stays small.
    """

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
        self.encoder = Encoder(packaged_folder() if path is None else Path(path).expanduser(), max_tokens)
        self.spec = CondSpec(
            vector=self.encoder.width if pooled else 0, tokens=self.encoder.width if tokens else 0
        )
        # Tells where the module was moved to; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B captions -> tokens [B, L, K], mask [B, L], vector [B, K], as asked for."""
        captions = [_clean(c) for c in column(batch, "text", "text")]
        device = self.device_of.device
        if device.type != "cpu" and not self.encoder.keeps_files:
            found = self.encoder.gathered(captions, device)
            dtype, vector = self.device_of.dtype, F.layer_norm(found.means, found.means.shape[-1:])
            return Cond(
                vector=vector.to(dtype) if self.pooled else None,
                tokens=found.tokens.to(dtype) if self.tokens else None,
                mask=found.mask if self.tokens else None,
            )
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

    def null(self, batch_size: int) -> Cond:
        """The empty prompt, [B, ...]."""
        return self({"text": [""]}).expand(batch_size)

    def request(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """{"text": prompts}. MultigenError for text that is not valid Unicode; warns where the end is cut."""
        for prompt in prompts:
            if self.encoder.too_long(_clean(prompt)):
                warn_of_length(prompt, self.encoder.max_tokens)
        return {"text": list(prompts)}

    def words(self, prompt: str) -> list[str]:
        """The prompt as the tokens whose states the network attends to."""
        return self.encoder.words(_clean(prompt)) if self.tokens else []

    def remember(self, cache: DiskCache | None) -> States | None:
        """Keep the states of captions there, by their text and by the encoder's files; None: no longer."""
        encoder, kept = self.encoder, None
        if cache is not None:
            kept = States(
                cache,
                [encoder.folder],
                length=encoder.max_tokens,
                width=encoder.width,
                device=self.device_of.device,
            )
        encoder.remember(kept)
        return kept

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device_of.device, self.device_of.dtype)


def _clean(caption: str) -> str:
    """Runs of white space as one blank, so that they are one caption in the cache."""
    if not isinstance(caption, str):
        raise MultigenError(message("prompt", caption, ["text"]))
    try:
        caption.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MultigenError(f"prompt: {caption!r} is not valid Unicode ({error.reason})") from error
    return " ".join(caption.split())
