"""What the families that make sound as latents of a mel spectrogram have in common."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multigen.families.family import Family, Stream
from multigen.registry import Given, Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import AUTOENCODER, VOCODER, Component

CLAP = Component("transformers", ("ClapModel", "ClapTextModelWithProjection"))
ROBERTA_TOKENIZER = Component("transformers", ("RobertaTokenizer", "RobertaTokenizerFast"))
HEARD = Stream("tokenizer", "text_encoder", pooled="text_embeds", length=512, masked=True)


class Spectrogram(Family):
    """A U-Net of pictures of sound, time by mel bins; a VAE and a vocoder behind it."""

    parts: ClassVar[Mapping[str, Component]] = {
        "vae": AUTOENCODER,
        "vocoder": VOCODER,
        "text_encoder": CLAP,
        "tokenizer": ROBERTA_TOKENIZER,
    }
    modality = "audio"
    steps = 200
    scale: ClassVar[float]

    def __init__(self, *, folder: Given[Path]) -> None:
        super().__init__(folder=folder)
        read = functools.partial(
            diffusers_folder.entry, diffusers_folder.component(folder, "vocoder", VOCODER), folder / "vocoder"
        )
        self._bins, self._rate = read("model_in_dim", int, 80), read("sampling_rate", int, 16000)
        self._hop = math.prod(read("upsample_rates", tuple[int, ...], (4, 4, 4, 4)))

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": self.scale})

    @property
    def rows(self) -> int:
        """Places of a latent along the mel axis."""
        return self._bins // self.factor

    @property
    def folded(self) -> int:
        """Channels of the latents with their mel axis in them."""
        return self.entry("out_channels", int, 4) * self.rows

    def media(self) -> Mapping[str, Any]:
        """The seconds of the latents that it was trained on."""
        sample = self.entry("sample_size", int | tuple[int, int] | None, None) or 256
        frames = (sample if isinstance(sample, int) else sample[0]) * self.factor
        return {"rate": self._rate, "channels": 1, "seconds": frames * self._hop / self._rate}

    def codec(self, source: str) -> Part:
        """Its VAE and its vocoder."""
        return Part("mel_vae", {"path": source})

    def encoder(self, stream: Stream) -> nn.Module:
        """CLAP says what a text sounds like in one vector."""
        network = super().encoder(stream)
        return network if stream.encoder != "text_encoder" else ClapText(network)

    def unfolded(self, x: Tensor) -> Tensor:
        """[B, C F, T] -> [B, C, T, F], as diffusers' network takes it."""
        return rearrange(x, "b (c f) t -> b c t f", f=self.rows)


class ClapText(nn.Module):
    """CLAP's text encoder (Wu et al. 2022, arXiv:2211.06687): its projection, of unit length."""

    def __init__(self, clap: Any) -> None:
        super().__init__()
        self.clap: Any = clap

    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        """Token numbers [B, L] -> text_embeds [B, K], last_hidden_state [B, L, W]."""
        states = self.clap.text_model(input_ids=ids, attention_mask=attention_mask)
        embeds = F.normalize(self.clap.text_projection(states.pooler_output), dim=-1)
        output = importlib.import_module("transformers.models.clap.modeling_clap").ClapTextModelOutput
        return output(text_embeds=embeds, last_hidden_state=states.last_hidden_state)
