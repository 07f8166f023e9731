"""Priors of unCLIP (Ramesh et al. 2022, arXiv:2204.06125, section 2.2): text -> the embedding of a picture.

A transformer that is told the text predicts the embedding itself (eq. 2), normalised by statistics in its weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import CLIP_TOKENIZER, Family, Form, States, Stream
from multigen.families.image_encoder import IMAGE_ENCODER
from multigen.registry import Part
from multigen.storage.diffusers_folder import Component

TEXT = Component("transformers", ("CLIPTextModelWithProjection",))
NETWORK = Component("diffusers", ("PriorTransformer",))


class Prior(Family):
    """A prior: CLIP's tokens without padding, its pooled text, and the noisy embedding [B, K, 1].

    text     sub-folders of the tokenizer and the text encoder
    vision   sub-folder of the image encoder that goes with its embeddings; None: its folder has none
    """

    network = "prior"
    modality = "embedding"
    steps = 25
    text: ClassVar[tuple[str, str]] = ("tokenizer", "text_encoder")
    vision: ClassVar[str | None] = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLIP's last states and its projected text."""
        return (Stream(*self.text, pooled="text_embeds"),)

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 4.0})

    @property
    def width(self) -> int:
        """Of the embedding."""
        return self.entry("embedding_dim", int, 768)

    def form(self) -> Form:
        """K of the embedding, and widths of the text."""
        vector = self.entry("embedding_proj_dim", int | None, None) or self.width
        return Form(1, self.width, CondSpec(vector=vector, tokens=self.width))

    def cond(self, states: Sequence[States]) -> Cond:
        """The tokens, padding not heard, and the pooled text."""
        (clip,) = states
        return Cond(vector=clip.pooled, tokens=clip.tokens, mask=clip.words)

    def media(self) -> Mapping[str, Any]:
        """Width of the embedding, and where pictures are encoded."""
        encoder = {} if self.vision is None else {"encoder": str(self.folder / self.vision)}
        return {"width": self.width, **encoder}

    def codec(self, source: str) -> Part:
        """The statistics in its weights."""
        return Part("embedding", {"path": source})

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, K, 1], c_noise [B] from 0 to N - 1 -> the embedding [B, K, 1]."""
        out = network(
            x[..., 0],
            timestep=c_noise,
            proj_embedding=cond.vector,
            encoder_hidden_states=cond.tokens,
            attention_mask=cond.mask,
            return_dict=False,
        )
        return out[0][..., None]


class KandinskyPrior(Prior):
    """The prior of Kandinsky 2.2, in a folder of its own, with the image encoder."""

    title = "the prior of Kandinsky 2.2"
    components: ClassVar[Mapping[str, Component]] = {
        "prior": NETWORK,
        "image_encoder": IMAGE_ENCODER,
        "text_encoder": TEXT,
        "tokenizer": CLIP_TOKENIZER,
    }
    vision = "image_encoder"


class UnCLIPPrior(Prior):
    """The prior in the folder of an unCLIP pipeline."""

    title = "the prior of unCLIP"
    components: ClassVar[Mapping[str, Component]] = {
        "prior": NETWORK,
        "text_encoder": TEXT,
        "tokenizer": CLIP_TOKENIZER,
    }
    scheduler_folder = "prior_scheduler"


class StableUnCLIPPrior(Prior):
    """The prior in the folder of a Stable unCLIP pipeline."""

    title = "the prior of Stable unCLIP"
    components: ClassVar[Mapping[str, Component]] = {
        "prior": NETWORK,
        "prior_text_encoder": TEXT,
        "prior_tokenizer": CLIP_TOKENIZER,
    }
    text = ("prior_tokenizer", "prior_text_encoder")
    scheduler_folder = "prior_scheduler"
