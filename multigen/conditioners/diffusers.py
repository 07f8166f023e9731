"""Condition on text and pictures as a pipeline of diffusers does: with its own tokenizers and encoders."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multigen.conditioners import Conditioner
from multigen.conditioners.disk_states import DiskStates
from multigen.conditioners.new_words import assigned, first_vectors, named
from multigen.conditioners.pipeline_encoder import PipelineEncoder
from multigen.conditioners.prompts import check_text, column, no_prompt, unread, warn_of_length, warn_of_words
from multigen.conditioners.weighted_prompts import plain
from multigen.core.conditioning import Cond
from multigen.core.hosts import Host
from multigen.errors import MultigenError, message
from multigen.families import open_family
from multigen.registry import Given
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Turns
from multigen.storage.disk_cache import DiskCache
from multigen.storage.words import Words

log = logging.getLogger(__name__)


class Diffusers(Conditioner):
    """Text and pictures through a pipeline's frozen encoders; the unconditional condition is that of the pipeline.

    path     the pipeline's folder, whose tokenizers and text encoders are used, a single file of it, or its id on
             the hub (hf:owner/name)
    config   of a single file: a folder in diffusers' format that says what the file does not
    numbers  what the network is told beside the prompt: {guidance: 3.5}, {crop: [0, 64]} ...; null: the usual values

    Words between brackets with a weight count for more or less: `a (red:1.3) apple`. Where the family allows it,
    prompts longer than the encoder are encoded in chunks; else a warning says what is cut. Nothing here is trained or
    saved. ValueError for a folder whose network is told nothing, and for numbers that it is not told.
    """

    device_of: Tensor

    def __init__(
        self,
        *,
        path: str | None = None,
        config: str | None = None,
        numbers: Mapping[str, float | tuple[float, ...]] | None = None,
        turns: Given[Turns | None] = None,
    ) -> None:
        super().__init__()
        self.family = open_family(diffusers_folder.located(path, config))
        if not self.family.streams and not self.family.numbers:
            raise ValueError(f"path: {path}: {self.family.title} follows no prompt; use the conditioner none")
        self.numbers = _numbers(self.family.numbers, numbers or {})
        self.known_noise = self.family.known_noise(self.numbers)
        self.text = bool(self.family.streams)
        self.encoders = [PipelineEncoder(self.family, stream, turns) for stream in self.family.streams]
        self.spec = self.family.spec([encoder.blank() for encoder in self.encoders])
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B prompts -> what the family's network takes, [B, ...]."""
        prompts, device = [check_text(c) for c in column(batch, "text", "diffusers")], self.device_of.device
        cond = self.family.cond([encoder(prompts, device) for encoder in self.encoders])
        cond = cond.to(device).expand(len(prompts))
        for name, values in self.numbers.items():
            cond = cond.with_extra(name, torch.tensor([values], device=device))
        return cond

    def null(self, batch_size: int) -> Cond:
        """Return the unconditional condition, [B, ...]: zeros, or the empty prompt."""
        cond = self({"text": [""]})
        return self.family.opposed(self.family.null(cond)).expand(batch_size)

    def measures(self, media: tuple[int, ...]) -> Mapping[str, Tensor]:
        """Return the numbers that follow from the medium's size, where they are not set."""
        found = self.family.measures(media, self.numbers)
        return {name: torch.tensor([values], device=self.device_of.device) for name, values in found.items()}

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """Return what the family hears of the known part of a medium."""
        return self.family.look(media, keep)

    def opposed(self, cond: Cond) -> Cond:
        """Return what the family makes of it."""
        return self.family.opposed(cond)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"text": prompts}. MultigenError for what is no text; warns of what is cut or not known."""
        if not self.text:
            no_prompt(prompts)
        for prompt in prompts:
            words = plain(check_text(prompt)).split()
            for encoder in self.encoders:
                warn_of_words(unread(words, encoder.tokenizer.pieces, None))
                if cut := encoder.tokenizer(prompt).cut:
                    warn_of_length(cut, encoder.tokenizer.length)
        return {"text": list(prompts)}

    def words(self, prompt: str) -> list[str]:
        """Return the tokens of the first encoder, whose states come first."""
        return (
            self.encoders[0].tokenizer.texts(check_text(prompt)) if self.encoders and self.spec.tokens else []
        )

    def hosts(self) -> Sequence[Host]:
        """Return its text encoders, which are read from the disk where they have not been used yet."""
        return [encoder.host(self.device_of.device) for encoder in self.encoders]

    def unfreeze(self) -> Sequence[Host]:
        """Let gradients reach those of its text encoders whose LoRAs diffusers reads."""
        device = self.device_of.device
        chosen = [encoder for encoder in self.encoders if encoder.is_clip]
        for encoder in chosen:
            self.add_module(encoder.stream.encoder, encoder.unfreeze(device))
        return [encoder.host(device) for encoder in chosen]

    def teach(self, words: Sequence[Words]) -> None:
        """As `Conditioner.teach`."""
        encoders = named(self.encoders)
        for name, vectors in assigned(words, encoders).items():
            encoders[name].teach(vectors, self.device_of.device)

    def check_words(self, words: Sequence[Words]) -> None:
        """As `Conditioner.check_words`."""
        assigned(words, named(self.encoders))

    def learn_word(self, token: str, count: int, like: str | None, seed: int) -> None:
        """As `Conditioner.learn_word`."""
        encoders, device = named(self.encoders), self.device_of.device
        if not encoders:
            raise MultigenError(
                f"train.adapter: {self.family.title} has no text encoder that takes new words. Allowed: CLIP and T5."
            )
        first = {k: first_vectors(one, count, like, seed, device) for k, one in encoders.items()}
        given = assigned([Words(token, first, "train.adapter")], encoders)
        rows = {name: encoders[name].teach(vectors, device) for name, vectors in given.items()}
        self.new_words = nn.ParameterDict(
            {k: one.requires_grad_() for k, one in rows.items() if one is not None}
        )
        for encoder in encoders.values():
            encoder.unfreeze(device)

    def use_cache(self, cache: DiskCache | None) -> DiskStates | None:
        """Keep the states of prompts on disk, keyed by their text and by the pipeline's files; None: no longer."""
        if cache is not None and any(one.learns or one.tokenizer.words for one in self.encoders):
            log.warning("train.cache: texts are not cached, because their encoder is not the pipeline's own")
            cache = None
        stores = [encoder.use_cache(cache, self.device_of.device) for encoder in self.encoders]
        return stores[0] if stores else None


def _numbers(
    usual: Mapping[str, tuple[float, ...]], given: Mapping[str, float | tuple[float, ...]]
) -> dict[str, tuple[float, ...]]:
    """The numbers that a network is told. ValueError for unknown names, and for another count."""
    for name, values in given.items():
        if name not in usual:
            raise ValueError(message("numbers", name, usual))
        count = 1 if isinstance(values, int | float) else len(values)
        if count != len(usual[name]):
            raise ValueError(f"numbers.{name}: {values} is not allowed. Allowed: {len(usual[name])} numbers.")
    chosen = {**usual, **given}
    return {n: (float(v),) if isinstance(v, int | float) else tuple(map(float, v)) for n, v in chosen.items()}
