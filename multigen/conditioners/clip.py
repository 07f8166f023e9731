"""Conditions on text as Stable Diffusion does: the 77 token states of CLIP's text encoder."""

from __future__ import annotations

import functools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.conditioners import column, warn_of_length
from multigen.conditioners.states import States
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError, message
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen
from multigen.storage.disk_cache import DiskCache


class CLIP(nn.Module):
    """Text through a frozen CLIPTextModel; the null condition is the empty prompt.

    path: the pipeline's folder (its `tokenizer` and `text_encoder` are taken), or its id on the hub (owner/name)

    Every prompt is padded to the encoder's full length, and Stable Diffusion attends to the padding as to the rest:
    all tokens are valid. Nothing here is trained or saved: it stays in its folder.
    """

    device_of: Tensor

    def __init__(self, *, path: str | None = None) -> None:
        super().__init__()
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "text_encoder")
        width, self.length = config.get("hidden_size"), config.get("max_position_embeddings", 77)
        if not isinstance(width, int) or not isinstance(self.length, int):
            raise ValueError(f"path: {folder / 'text_encoder'}: its config.json describes no text encoder")
        diffusers_folder.component(folder, "tokenizer")
        self.spec = CondSpec(tokens=width)
        self.folder = folder
        self.encoder = Frozen(functools.partial(diffusers_folder.network, folder, "text_encoder"))
        self.tokenizer = Tokenizer(folder, self.length)
        self._kept: States | None = None
        # Tells where the module was moved to; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B prompts -> tokens [B, L, K], mask [B, L], all valid."""
        prompts, device = [_text(c) for c in column(batch, "text", "clip")], self.device_of.device
        if self._kept is None:
            tokens = self._states(prompts)
        else:
            found = self._kept(dict.fromkeys(prompts), lambda prompt: self._states([prompt])[0].cpu())
            tokens = torch.stack([found[prompt] for prompt in prompts]).to(device)
        return Cond(tokens=tokens, mask=torch.ones(tokens.shape[:2], dtype=torch.bool, device=device))

    def _states(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> [B, L, K] on the encoder's device, fp32."""
        ids, heard = self.tokenizer(prompts)
        device = self.device_of.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            encoder = self.encoder.on(device)
            # Its own attention hides the padding where its configuration says so (not in Stable Diffusion).
            mask = heard.to(device) if getattr(encoder.config, "use_attention_mask", False) else None
            return encoder(ids.to(device), attention_mask=mask).last_hidden_state.float()

    def remember(self, cache: DiskCache | None) -> States | None:
        """Keep the states of prompts there, by their text and by the pipeline's files; None: no longer."""
        self._kept = None
        if cache is not None:
            folders, width = [self.folder / "tokenizer", self.folder / "text_encoder"], self.spec.tokens
            self._kept = States(cache, folders, length=self.length, width=width, device=self.device_of.device)
        return self._kept

    def null(self, batch_size: int) -> Cond:
        """The empty prompt, [B, ...]."""
        return self({"text": [""]}).expand(batch_size)

    def request(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """{"text": prompts}. MultigenError for what is no text; warns where the end is cut."""
        for prompt in prompts:
            if self.tokenizer.count(_text(prompt)) > self.tokenizer.length:
                warn_of_length(prompt, self.tokenizer.length)
        return {"text": list(prompts)}


class Tokenizer:
    """Prompts -> token numbers, padded to `length`. Loaded when first used; a copy is the same object."""

    def __init__(self, folder: Path, length: int) -> None:
        self.folder, self._longest = folder, length
        self._lock = threading.Lock()
        self._tokenizer: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Tokenizer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Tokenizer, (self.folder, self._longest)

    @property
    def length(self) -> int:
        """Tokens of a prompt, its two ends and the padding among them."""
        return min(self._longest, self._loaded().model_max_length)

    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token numbers [B, L] and the mask of those that are no padding [B, L], int64."""
        tokens = self._loaded()(
            list(prompts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        )
        return tokens.input_ids, tokens.attention_mask

    def count(self, prompt: str) -> int:
        """Tokens of a prompt before it is cut, its two ends among them."""
        return len(self._loaded()(prompt, verbose=False).input_ids)

    def _loaded(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                place = self.folder / "tokenizer"
                try:
                    kind = diffusers_folder.imported("transformers").CLIPTokenizer
                    self._tokenizer = kind.from_pretrained(place, local_files_only=True)
                except MultigenError:
                    raise
                except Exception as error:  # whatever the library makes of damaged files
                    raise MultigenError(f"{place}: cannot be loaded as a CLIPTokenizer ({error})") from error
        return self._tokenizer


def _text(prompt: object) -> str:
    if not isinstance(prompt, str):
        raise MultigenError(message("prompt", prompt, ["text"]))
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise MultigenError(f"prompt: {prompt!r} is not valid Unicode ({error.reason})") from error
    return prompt
