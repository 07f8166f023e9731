"""One text encoder of a pipeline: prompts -> the states that the network hears.

A prompt longer than the encoder is encoded in chunks, one after another. A weight w moves the states of its tokens away
from those of the empty prompt:

    state = empty + w (state - empty)
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from multigen.conditioners.disk_states import DiskStates
from multigen.conditioners.pipeline_tokenizer import Chunks, PipelineTokenizer
from multigen.conditioners.word_table import WordTable
from multigen.core.hosts import Host
from multigen.families import Family, States, Stream
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen, Turns
from multigen.storage.disk_cache import DiskCache


class PipelineEncoder:
    """A frozen encoder and its tokenizer, of a family's folder. MultigenError for a configuration that is none."""

    def __init__(self, family: Family, stream: Stream, turns: Turns | None = None) -> None:
        part = family.components[stream.encoder]
        self.place, self.stream = family.folder / stream.encoder, stream
        kind = str(family.listed[stream.encoder])
        self.is_clip, self.is_t5, self.learns = (
            kind.startswith("CLIPText"),
            kind.startswith(("T5", "UMT5")),
            False,
        )
        self._config = diffusers_folder.component(family.folder, stream.encoder, part)
        self.width = self._entry("d_model" if "d_model" in self._config else "hidden_size", None)
        self.pooled_width = (
            self._entry("projection_dim", 512) if stream.pooled == "text_embeds" else self.width
        )
        longest = stream.length or self._entry("max_position_embeddings", 77)
        kind = str(family.listed[stream.tokenizer])
        self.tokenizer = PipelineTokenizer(
            family.folder / stream.tokenizer, kind, longest, chunks=stream.chunks
        )
        self.encoder = Frozen(functools.partial(family.encoder, stream), turns)
        self._masks = stream.masked or bool(self._config.get("use_attention_mask", False))
        self._disk: tuple[DiskStates, DiskStates] | None = None

    def _entry(self, key: str, default: int | None) -> int:
        return diffusers_folder.entry(self._config, self.place, key, int, default)

    def blank(self) -> States:
        """Return states of the right widths that say nothing."""
        mask = torch.ones(1, 1, dtype=torch.bool)
        pooled = torch.zeros(1, self.pooled_width) if self.stream.pooled else None
        return States(torch.zeros(1, 1, self.width), mask, mask, pooled)

    def unfreeze(self, device: torch.device) -> nn.Module:
        """Let gradients reach the encoder from now on, and return it. Its weights themselves stay frozen."""
        self.learns = True
        return self.encoder.to_change(device)

    def teach(self, words: Mapping[str, Tensor], device: torch.device) -> nn.Parameter | None:
        """Hear these vectors [n, K] in place of each word from now on, and no others. The rows of all of them."""
        if not words and not self.tokenizer.words:
            return None
        network = self.encoder.to_change(device)
        table = network.get_input_embeddings()
        table = table.table if isinstance(table, WordTable) else table
        grown = WordTable(table, torch.cat(list(words.values()))) if words else table
        network.set_input_embeddings(grown)
        first = itertools.accumulate((len(rows) for rows in words.values()), initial=table.num_embeddings)
        self.tokenizer.words = {
            word.lower(): range(start, start + len(rows))
            for start, (word, rows) in zip(first, words.items(), strict=False)
        }
        return grown.rows if isinstance(grown, WordTable) else None

    def embedding(self, device: torch.device) -> Tensor:
        """Return the table of embeddings, [N, K]."""
        return self.encoder.on(device).get_input_embeddings().weight.detach()

    def host(self, device: torch.device) -> Host:
        """Return the encoder as LoRA files name it: text_encoder_2 is kohya's lora_te2_."""
        name = self.stream.encoder
        number = name.removeprefix("text_encoder").removeprefix("_") or "1"
        flat = (f"lora_te{number}_", *(["lora_te_"] if number == "1" else []))
        inside = f"conditioner.{name}."
        return Host(
            f"{name}.", inside, functools.partial(self.encoder.to_change, device), flat, learns=self.is_clip
        )

    def __call__(self, prompts: Sequence[str], device: torch.device) -> States:
        """B prompts -> states on the device, fp32; shorter ones are padded to as many chunks as the longest has."""
        found = {prompt: self.tokenizer(prompt) for prompt in dict.fromkeys(prompts)}
        if self._disk is None:
            made = self._encoded(found, device)
        else:
            made = {prompt: self._kept(prompt, chunks, device) for prompt, chunks in found.items()}
        tokens = pad_sequence([made[prompt][0] for prompt in prompts], batch_first=True)
        words = [found[prompt].valid.flatten().bool() for prompt in prompts]
        there, heard = (
            pad_sequence(rows, batch_first=True).to(device)
            for rows in ([torch.ones_like(w) for w in words], words)
        )
        pooled = torch.stack([made[p][1] for p in prompts]) if self.stream.pooled else None
        return States(tokens, there, heard, pooled)

    def use_cache(self, cache: DiskCache | None, device: torch.device) -> DiskStates | None:
        """As `Conditioner.use_cache`."""
        self._disk = None
        if cache is None:
            return None
        folders = [self.tokenizer.place, self.place]
        say = {"length": self.tokenizer.length, "device": device}
        self._disk = (
            DiskStates(cache, folders, width=self.width, layer=self.stream.layer, **say),
            DiskStates(cache, folders, width=self.pooled_width, layer=self.stream.pooled, **say),
        )
        return self._disk[0]

    def _kept(self, prompt: str, chunks: Chunks, device: torch.device) -> tuple[Tensor, Tensor]:
        """Token states [L, K] and pooled state [P] of one prompt, from the disk where they are there."""
        assert self._disk is not None
        make = functools.cache(lambda: self._encoded({prompt: chunks}, device)[prompt])
        tokens = self._disk[0]([prompt], lambda _: make()[0].cpu())[prompt].to(device)
        if not self.stream.pooled:
            return tokens, tokens[0]
        return tokens, self._disk[1]([prompt], lambda _: make()[1][None].cpu())[prompt][0].to(device)

    def _encoded(self, found: dict[str, Chunks], device: torch.device) -> dict[str, tuple[Tensor, Tensor]]:
        """Token states [L, K] and pooled state [P] of each prompt."""
        ids, valid, weights = map(torch.cat, zip(*(c[:3] for c in found.values()), strict=True))
        tokens, pooled = self._states(ids, valid, device)
        if bool((weights != 1).any()):
            empty, _ = self._states(*self.tokenizer.empty(1)[:2], device)
            tokens = torch.lerp(empty, tokens, weights[..., None].to(tokens))
        counts = [len(chunks.ids) for chunks in found.values()]
        rows = zip(tokens.split(counts), pooled.split(counts), strict=True)
        return {
            prompt: (states.flatten(0, 1), summed[0])
            for prompt, (states, summed) in zip(found, rows, strict=True)
        }

    def _states(self, ids: Tensor, valid: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Chunks [N, L] -> token states [N, L, K] and pooled states [N, P], fp32."""
        learns = self.learns and torch.is_grad_enabled()
        with torch.set_grad_enabled(learns), torch.autocast(device.type, enabled=False):
            mask = valid.to(device) if self._masks else None
            options: dict[str, Any] = {} if self.stream.layer is None else {"output_hidden_states": True}
            out = self.encoder.on(device)(ids.to(device), attention_mask=mask, **options)
            layer = self.stream.layer
            tokens = out.last_hidden_state if layer is None else out.hidden_states[layer]
            pooled = tokens[:, 0] if self.stream.pooled is None else out[self.stream.pooled]
            return tokens.float(), pooled.float()
