"""unCLIP in pixels (Ramesh et al. 2022, arXiv:2204.06125, section 2.1): a decoder, and an upscaler of two networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.families.embeddings import EmbeddingFamily, told
from multigen.families.family import CLIP_TOKENIZER, Form, States, Stream
from multigen.families.image_encoder import IMAGE_ENCODER, ImageEncoder
from multigen.families.prior import TEXT
from multigen.families.unconditional import Pixels
from multigen.registry import Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component

UNET = Component("diffusers", ("UNet2DModel",))
DECODER = Component("diffusers", ("UNet2DConditionModel",))


class Decoder(Pixels, EmbeddingFamily):
    """The decoder of unCLIP: text and embedding are projected to more tokens, and to what is added to the time.

    Its network learned its variance, too.
    """

    title = "the decoder of unCLIP"
    components: ClassVar[Mapping[str, Component]] = {
        "decoder": DECODER,
        "text_proj": Component("unclip", ("UnCLIPTextProjModel",)),
        "text_encoder": TEXT,
        "tokenizer": CLIP_TOKENIZER,
        "image_encoder": Component("transformers", IMAGE_ENCODER.classes, optional=True),
    }
    network = "decoder"
    steps = 25
    scheduler_folder = "decoder_scheduler"
    vision = "image_encoder"
    stages = ("prior",)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLIP's last states and its projected text."""
        return (Stream("tokenizer", "text_encoder", pooled="text_embeds"),)

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 8.0})

    @property
    def cascade(self) -> Part | None:
        """It is told an embedding."""
        return Part("embedding")

    @property
    def embedding_width(self) -> int:
        """As the projection takes it."""
        place = self.folder / "text_proj"
        config = diffusers_folder.component(self.folder, "text_proj", self.components["text_proj"])
        return diffusers_folder.entry(config, place, "clip_embeddings_dim", int, 768)

    @cached_property
    def _projection(self) -> Any:
        return self.part("text_proj")

    def form(self) -> Form:
        """Channels of the pixels, and widths of the text."""
        width = self.embedding_width
        return Form(2, self.channels, CondSpec(vector=width, tokens=width))

    def cond(self, states: Sequence[States]) -> Cond:
        """The tokens, padding not heard, and the pooled text."""
        (clip,) = states
        return Cond(vector=clip.pooled, tokens=clip.tokens, mask=clip.words)

    def hidden(self, told: Tensor, encoder: ImageEncoder | None) -> Tensor:
        """The embedding that was learned for it."""
        learned = self._projection.on(told.device).learned_classifier_free_guidance_embeddings
        return learned.detach().expand_as(told)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, 3, H, W], c_noise [B] from 0 to N - 1 -> eps [B, 3, H, W]."""
        project = self._projection.on(x.device)
        tokens, classes = project(
            image_embeddings=told(cond).to(x),
            prompt_embeds=cond.vector,
            text_encoder_hidden_states=cond.tokens,
            do_classifier_free_guidance=False,
        )
        assert cond.mask is not None
        mask = F.pad(cond.mask, (tokens.shape[1] - cond.mask.shape[1], 0), value=True)
        (out,) = network(x, c_noise, tokens, class_labels=classes, attention_mask=mask, return_dict=False)
        return out


class Upscaler(Pixels):
    """The upscaler of unCLIP: it sees the smaller picture, enlarged. Another network takes the step at index 0."""

    title = "unCLIP"
    components: ClassVar[Mapping[str, Component]] = {
        "super_res_first": UNET,
        "super_res_last": UNET,
        "decoder": DECODER,
    }
    network = "super_res_first"
    steps = 7
    scheduler_folder = "super_res_scheduler"
    stages = ("prior", "decoder")

    @property
    def channels(self) -> int:
        """Of the pixels."""
        return self.entry("out_channels", int, 6) // 2

    @property
    def cascade(self) -> Part | None:
        """The smaller picture, enlarged, as it is."""
        config = diffusers_folder.component(self.folder, "decoder", DECODER)
        small = diffusers_folder.entry(config, self.folder / "decoder", "sample_size", int, 64)
        factor = max(self.entry("sample_size", int, 256) // small, 2)
        return Part("enlarge", {"factor": factor, "noise": 0.0, "level": 0.0, "plain": True})

    @cached_property
    def _last(self) -> Any:
        return self.part("super_res_last")

    def form(self) -> Form:
        """Channels of the pixels, and those of the smaller picture."""
        grid = self.entry("in_channels", int, 6) - self.channels
        return Form(2, self.channels, CondSpec(grid=grid))

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, 3, H, W], c_noise [B] from 0 to N - 1, cond.grid [B, 3, H, W] -> eps and v [B, 6, H, W]."""
        assert cond.grid is not None
        whole, out = torch.cat([x, cond.grid.to(x)], dim=1), torch.cat([x, x], dim=1)
        ends = (c_noise < 0.5).tolist()  # rows of a batch may be on either side
        for is_end, chosen in ((False, network), (True, self._last.on(x.device))):
            rows = [k for k, end in enumerate(ends) if end is is_end]
            if rows:
                made = chosen(whole[rows], c_noise[rows], return_dict=False)[0]
                out[rows] = made.to(out)
        return out
