"""Condition on text as Stable Diffusion does: the 77 token states of CLIP's text encoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multigen.conditioners import Conditioner
from multigen.conditioners.clip_tokenizer import ClipTokenizer
from multigen.conditioners.disk_states import DiskStates
from multigen.conditioners.prompts import check_text, column, unread, warn_of_length, warn_of_words
from multigen.core.conditioning import Cond, CondSpec
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen
from multigen.storage.disk_cache import DiskCache


class CLIP(Conditioner):
    """Text through a frozen CLIPTextModel; the unconditional condition is the empty prompt.

    path  the pipeline's folder, whose `tokenizer` and `text_encoder` are used, or its id on the hub (owner/name)

    Every prompt is padded to the encoder's full length. Stable Diffusion attends to the padding, too, so all tokens are
    valid. Nothing here is trained or saved. ValueError for a folder that holds no text encoder.
    """

    text = True
    device_of: Tensor

    def __init__(self, *, path: str | None = None) -> None:
        super().__init__()
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "text_encoder")
        width, length = config.get("hidden_size"), config.get("max_position_embeddings", 77)
        if not isinstance(width, int) or not isinstance(length, int):
            raise ValueError(f"path: {folder / 'text_encoder'}: its config.json describes no text encoder")
        diffusers_folder.component(folder, "tokenizer")
        self.spec = CondSpec(tokens=width)
        self.folder, self.length = folder, length
        # The encoder's own attention hides the padding if its configuration says so (not in Stable Diffusion).
        self._masks_padding = bool(config.get("use_attention_mask", False))
        self.encoder = Frozen(functools.partial(diffusers_folder.network, folder, "text_encoder"))
        self.tokenizer = ClipTokenizer(folder, length)
        self._disk: DiskStates | None = None
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B prompts -> tokens [B, L, K], mask [B, L], all valid."""
        prompts, device = [check_text(c) for c in column(batch, "text", "clip")], self.device_of.device
        if self._disk is None:
            tokens = self._states(prompts)
        else:
            found = self._disk(dict.fromkeys(prompts), lambda prompt: self._states([prompt])[0].cpu())
            tokens = torch.stack([found[prompt] for prompt in prompts]).to(device)
        return Cond(tokens=tokens, mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=device))

    def _states(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> [B, L, K] on the encoder's device, fp32."""
        ids, valid = self.tokenizer(prompts)
        device = self.device_of.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            mask = valid.to(device) if self._masks_padding else None
            states = self.encoder.on(device)(ids.to(device), attention_mask=mask)
            return states.last_hidden_state.float()

    def null(self, batch_size: int) -> Cond:
        """Return the condition of the empty prompt, [B, ...]."""
        return self({"text": [""]}).expand(batch_size)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"text": prompts}. MultigenError for what is no text; warns of what is cut or not known."""
        for prompt in prompts:
            warn_of_words(unread(check_text(prompt).split(), self.tokenizer.pieces, None))
            if self.tokenizer.count(prompt) > self.tokenizer.length:
                warn_of_length(prompt, self.tokenizer.length)
        return {"text": list(prompts)}

    def use_cache(self, cache: DiskCache | None) -> DiskStates | None:
        """Keep the states of prompts on disk, keyed by their text and by the pipeline's files; None: no longer."""
        self._disk = None
        if cache is not None:
            folders, width = [self.folder / "tokenizer", self.folder / "text_encoder"], self.spec.tokens
            device = self.device_of.device
            self._disk = DiskStates(cache, folders, length=self.length, width=width, device=device)
        return self._disk
