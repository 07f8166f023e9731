"""AudioLDM 2 (Liu et al. 2023, arXiv:2308.05734): a language model says what CLAP's and T5's states sound like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import T5_TOKENIZER, Form, States, Stream
from multigen.families.spectrogram import HEARD, Spectrogram
from multigen.registry import Given
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component
from multigen.storage.pipeline_place import INDEX

TOKENS = 512  # of a prompt that T5 hears
GENERATED = 8  # states that the language model gives, where its configuration does not say
LANGUAGE_MODEL = Component("transformers", ("GPT2Model", "GPT2LMHeadModel"))


class AudioLDM2(Spectrogram):
    """AudioLDM 2: two streams, T5's tokens without padding, and what GPT-2 goes on with after CLAP's and T5's.

    Each prompt is encoded alone. In diffusers GPT-2 counts the padding to the longest prompt of a batch as positions,
    and the empty prompt's to the one beside it.
    """

    title = "AudioLDM 2"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("audioldm2", ("AudioLDM2UNet2DConditionModel",)),
        **Spectrogram.parts,
        "text_encoder_2": Component("transformers", ("T5EncoderModel",)),
        "tokenizer_2": T5_TOKENIZER,
        "projection_model": Component("audioldm2", ("AudioLDM2ProjectionModel",)),
        "language_model": LANGUAGE_MODEL,
    }
    scale = 3.5

    def __init__(self, *, folder: Given[Path]) -> None:
        if diffusers_folder.read_json(folder / INDEX).get("text_encoder_2", ["", ""])[1] == "VitsModel":
            raise MultigenError(
                f"{folder}: this AudioLDM 2 speaks a transcription (VitsModel), which is not supported. Allowed: those "
                "of sounds and of music, whose text_encoder_2 is a T5EncoderModel"
            )
        super().__init__(folder=folder)
        place = folder / "language_model"
        config = diffusers_folder.component(folder, "language_model", LANGUAGE_MODEL)
        self._count = diffusers_folder.entry(config, place, "max_new_tokens", int | None, None) or GENERATED
        self._projection, self._speaker = self.part("projection_model"), self.part("language_model")

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLAP and T5, which hides padding from itself."""
        return HEARD, Stream("tokenizer_2", "text_encoder_2", length=TOKENS, masked=True)

    def form(self) -> Form:
        """Channels of the folded latents, and the width of T5's tokens. MultigenError for a network of one stream."""
        widths = self.config.get("cross_attention_dim")
        first = widths[0] if isinstance(widths, list | tuple) and widths else None
        if not isinstance(first, list | tuple) or len(first) < 3:
            raise MultigenError(
                f"{self.folder / self.network}: cross_attention_dim: {widths!r} is not what {self.title}'s network "
                "has (a list for each block: itself, GPT-2, T5)"
            )
        return Form(1, self.folded, CondSpec(tokens=int(first[-1])))

    def spec(self, blank: Sequence[States]) -> CondSpec:
        """The width of T5's tokens, without the language model."""
        return CondSpec(tokens=blank[1].tokens.shape[2])

    def cond(self, states: Sequence[States]) -> Cond:
        """T5's tokens without padding, and in `extra` what GPT-2 gives, [B, 8, K]."""
        clap, t5 = states
        assert clap.pooled is not None
        longest = int(t5.words.sum(1).max())
        rows = zip(clap.pooled, t5.tokens, t5.words, strict=True)
        spoken = torch.cat([self._spoken(one, tokens[words]) for one, tokens, words in rows])
        return Cond(tokens=t5.tokens[:, :longest], mask=t5.words[:, :longest], extra={"spoken": spoken})

    @torch.no_grad()
    def _spoken(self, clap: Tensor, t5: Tensor) -> Tensor:
        """CLAP's vector [K], T5's tokens [L, K'] -> the states that GPT-2 goes on with, [1, 8, K'']."""
        device = t5.device
        with torch.autocast(device.type, enabled=False):
            heard = self._projection.on(device)(
                hidden_states=clap[None, None],
                hidden_states_1=t5[None],
                attention_mask=torch.ones(1, 1, dtype=torch.long, device=device),
                attention_mask_1=torch.ones(1, len(t5), dtype=torch.long, device=device),
            ).hidden_states
            for _ in range(self._count):
                states = self._speaker.on(device)(
                    inputs_embeds=heard, output_hidden_states=True
                ).hidden_states[-1]
                heard = torch.cat([heard, states[:, -1:]], 1)
        return heard[:, -self._count :]

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C F, T], c_noise [B] from 0 to N - 1, two streams -> F [B, C F, T]."""
        (out,) = network(
            self.unfolded(x),
            c_noise,
            encoder_hidden_states=cond.extra["spoken"],
            encoder_hidden_states_1=cond.tokens,
            encoder_attention_mask_1=cond.mask,
            return_dict=False,
        )
        return out.transpose(2, 3).flatten(1, 2)
