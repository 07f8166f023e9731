"""Wan 2.1 and 2.2 of a first frame, and maybe a last one (Wan Team 2025, arXiv:2503.20314, section 5.1)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import Form
from multigen.families.pictures import CLIP_PROCESSOR, CLIP_VISION, PictureEncoder
from multigen.families.wan import Wan
from multigen.registry import Given, Part
from multigen.storage.diffusers_folder import Component


class WanImage(Wan):
    """Wan of pictures: the network sees which frames are known, and their latents beside grey ones.

    Where the folder has CLIP's vision encoder (Wan 2.1), the network hears the first frame, and of a network for both
    ends the last one, too. A network with a noise level for each token (Wan 2.2, 5B) can do without pictures.
    """

    title = "Wan image-to-video"
    components: ClassVar[Mapping[str, Component]] = {
        **Wan.components,
        "image_encoder": dataclasses.replace(CLIP_VISION, optional=True),
        "image_processor": dataclasses.replace(CLIP_PROCESSOR, optional=True),
    }

    def __init__(self, *, folder: Given[Path]) -> None:
        super().__init__(folder=folder)
        self._pictures: PictureEncoder | None = None
        if self.config.get("image_dim") is None:
            return
        if self.listed["image_encoder"] is None or self.listed["image_processor"] is None:
            raise MultigenError(
                f"{folder}: its network hears pictures (image_dim), so it needs an image_encoder and an image_processor"
            )
        self._pictures = PictureEncoder(self, "image_encoder", "image_processor")

    @property
    def begins(self) -> bool:
        """Unless its network sees what is known as it is."""
        return not self.sees_known

    @property
    def masked(self) -> bool:
        """Likewise: mask and known latents are channels."""
        return not self.sees_known

    @property
    def _ends(self) -> bool:
        """Whether the network hears the last frame, too."""
        return self.config.get("pos_embed_seq_len") is not None

    def form(self) -> Form:
        """C of the latents, the width of the tokens, and the channels that show what is known."""
        channels, takes = self.entry("out_channels", int, 16), self.entry("in_channels", int, 16)
        shown = self.factors[0] + channels if self.masked else 0
        if takes != channels + shown:
            raise MultigenError(
                f"{self.folder / self.network}: in_channels: {takes} is not allowed. Allowed: {channels + shown}."
            )
        return Form(3, channels, CondSpec(tokens=self.entry("text_dim", int, 4096), grid=shown))

    def codec(self, source: str) -> Part:
        """Its VAE, which shows a network with mask channels each frame's mask."""
        args: dict[str, Any] = {"path": source, "multiple": self.patch}
        return Part("temporal_vae", args | ({"by_frame": True} if self.masked else {}))

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """CLIP's states before the last ones of the first frame [1, L, K], and where they are heard, of the last."""
        if self._pictures is None:
            return {}
        frames = [media[:, 0]]
        if self._ends:
            if media.shape[1] < 2 or not bool(keep[-1].all()):
                raise MultigenError("this network hears a first and a last frame: give the last one, too")
            frames.append(media[:, -1])
        states = self._pictures(self._pictures.prepared(torch.stack(frames))).hidden_states[-2]
        return {"pictures": states[None]}

    def one(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x, mask and known latents are its channels, unless it sees what is known as it is."""
        if self.masked and cond.grid is not None:
            x = torch.cat([x, cond.grid.to(x)], 1)
        return super().one(network, x, c_noise, cond)

    def shown(self, cond: Cond) -> Mapping[str, Tensor]:
        """CLIP's states of the pictures, [B n, L, K] of n pictures."""
        pictures = cond.extra.get("pictures")
        return {} if pictures is None else {"encoder_hidden_states_image": pictures.flatten(0, 1)}
