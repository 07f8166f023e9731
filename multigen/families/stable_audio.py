"""Stable Audio Open (Evans et al. 2024, arXiv:2407.14358): sound of a given length, with a diffusion transformer."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen.core.backbone import NoiseLevel
from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import T5_TOKENIZER, Family, Form, States, Stream
from multigen.registry import Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import OOBLECK, SCHEDULER, Component

LONGEST = 512  # seconds that it may be told, where the configuration does not say


class StableAudio(Family):
    """Stable Audio: T5's tokens, and where the sound begins and ends, in seconds, as two more.

    The end is that of the sound that is made; `conditioner.numbers` sets another: {seconds: [0, 30]}.
    """

    title = "Stable Audio"
    components: ClassVar[Mapping[str, Component]] = {
        "transformer": Component("diffusers", ("StableAudioDiTModel",)),
        "vae": OOBLECK,
        "text_encoder": Component("transformers", ("T5EncoderModel",)),
        "tokenizer": T5_TOKENIZER,
        "projection_model": Component("stable_audio", ("StableAudioProjectionModel",)),
    }
    network = "transformer"
    modality = "audio"
    c_noise: ClassVar[NoiseLevel] = "log_snr"
    steps = 100

    def __init__(self, *, folder: Any) -> None:
        super().__init__(folder=folder)
        self._vae = diffusers_folder.component(folder, "vae", OOBLECK)
        kind = diffusers_folder.read_json(folder / SCHEDULER / "scheduler_config.json").get("_class_name")
        self._angle = kind != "EDMDPMSolverMultistepScheduler"
        self._projection = self.part("projection_model")

    @property
    def streams(self) -> tuple[Stream, ...]:
        """T5, which hides padding from itself."""
        return (Stream("tokenizer", "text_encoder", masked=True),)

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """Where the sound begins and ends; 0 for the end of what is made."""
        return {"seconds": (0.0, 0.0)}

    def measures(
        self, media: tuple[int, ...], numbers: Mapping[str, tuple[float, ...]]
    ) -> Mapping[str, tuple[float, ...]]:
        """The end of the sound, where it is not set."""
        start, end = numbers["seconds"]
        return {"seconds": (start, end or start + media[1] / self._rate)}

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 7.0})

    @property
    def _rate(self) -> int:
        return diffusers_folder.entry(self._vae, self.folder / "vae", "sampling_rate", int, 44100)

    @property
    def _hop(self) -> int:
        ratios = self._vae.get("downsampling_ratios", (2, 4, 4, 8, 8))
        return math.prod(ratios)

    @property
    def _window(self) -> int:
        return self.entry("sample_size", int, 1024)

    def form(self) -> Form:
        """C of the latents, and the width of the tokens."""
        tokens = self.entry("cross_attention_input_dim", int, 768)
        return Form(1, self.entry("in_channels", int, 64), CondSpec(tokens=tokens))

    def media(self) -> Mapping[str, Any]:
        """The seconds of the latents that it was trained on."""
        place = self.folder / "vae"
        channels = diffusers_folder.entry(self._vae, place, "audio_channels", int, 2)
        seconds = self._window * self._hop / self._rate
        return {"rate": self._rate, "channels": channels, "seconds": seconds}

    def codec(self, source: str) -> Part:
        """Its VAE; sounds are the beginnings of what it was trained on."""
        return Part("oobleck", {"path": source, "window": self._window})

    def cond(self, states: Sequence[States]) -> Cond:
        """T5's tokens, projected, zeros for padding; `text` says that there is a prompt."""
        (t5,) = states
        tokens = t5.tokens
        if tokens.device.type != "meta":
            with torch.no_grad():
                tokens = self._projection.on(tokens.device)(text_hidden_states=tokens).text_hidden_states
        tokens = tokens * t5.words[..., None]
        return Cond(tokens=tokens, mask=t5.there, extra={"text": tokens.new_ones(len(tokens), 1)})

    def null(self, cond: Cond) -> Cond:
        """Zeros, in place of the seconds, too."""
        assert cond.tokens is not None
        extra = {**cond.extra, "text": torch.zeros_like(cond.extra["text"])}
        return dataclasses.replace(cond, tokens=torch.zeros_like(cond.tokens), extra=extra)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, L], log-SNR [B] -> v [B, C, L]."""
        assert cond.tokens is not None
        start, end = cond.extra["seconds"].unbind(1)
        end = torch.where(end > 0, end, start + x.shape[2] * self._hop / self._rate)
        spoken = self._projection.on(x.device)(start_seconds=start, end_seconds=end)
        first, last = spoken.seconds_start_hidden_states, spoken.seconds_end_hidden_states
        heard = torch.cat([first, last], 1) * cond.extra["text"][:, :, None]
        level = torch.atan(torch.exp(-c_noise / 2)) / math.pi * 2 if self._angle else -c_noise / 8
        out = network(
            x,
            level,
            encoder_hidden_states=torch.cat([cond.tokens, heard], 1),
            global_hidden_states=torch.cat([first, last], 2),
            rotary_embedding=self._rotary(x.shape[2] + 1, x),
            return_dict=False,
        )
        return out[0]

    def _rotary(self, places: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions, [places, width] each (Su et al. 2021, arXiv:2104.09864, eq. 34)."""
        width = self.entry("attention_head_dim", int, 64) // 2
        rates = 10000.0 ** -(torch.arange(0, width, 2, device=like.device) / width)
        angles = torch.outer(torch.arange(places, device=like.device), rates).repeat(1, 2)
        return angles.cos(), angles.sin()
