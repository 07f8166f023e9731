"""Codecs map media to model space, where the diffusion happens, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Codec(nn.Module, ABC):
    """Media [B, C, *D] <-> model space [B, C', *D']. Statistics are buffers, so that they travel in the checkpoint.

    sigma_data  about the standard deviation of the data in model space
    learns      it has weights to train, in a recipe without a backbone
    mask_width  channels in which a network with mask channels sees where something is known
    """

    sigma_data: float = 1.0
    learns: bool = False
    mask_width: int = 1

    @abstractmethod
    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return the model-space shape [C', *D'] of media [C, *D]. ValueError for media that it cannot take."""

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return the least shape [C, *D] of media, nowhere smaller than the given one, that comes back at its size."""
        return media

    @abstractmethod
    def encode(self, media: Tensor) -> Tensor:
        """Media [B, C, *D] in [-1, 1] -> model space [B, C', *D']."""

    @abstractmethod
    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Model space [B, C', *D'] -> media [B, C, *D] in [-1, 1].

        Row k's randomness (Griffin-Lim's phase, VAE sampling) is keyed by seed + k.
        """

    @abstractmethod
    def latent_mask(self, keep: Tensor) -> Tensor:
        """Find where model space depends on kept media alone: bool [*D] -> bool [*D'], True for kept."""

    def shown_mask(self, keep: Tensor) -> Tensor:
        """Say to a network with mask channels where media are known: bool [*D] -> [mask_width, *D'], 1 for known."""
        return self.latent_mask(keep)[None].float()

    def known(self, media: Tensor, keep: Tensor) -> Tensor:
        """Compute what a network with mask channels sees of media [B, C, *D] of which `keep` [*D] is known.

        By default x0 where `latent_mask` is True, 0 elsewhere: [B, C', *D'].
        """
        return self.encode(media) * self.latent_mask(keep).to(media.device)

    def known_of(self, media: Tensor, keep: Tensor, x0: Tensor) -> Tensor:
        """Compute `known` of media [B, C, *D], each with a `keep` of its own, bool [B, *D], and encoded as x0."""
        masks = torch.stack([self.latent_mask(one) for one in keep])[:, None]
        return x0 * masks.to(x0)

    def unknown(self, shape: tuple[int, ...]) -> Tensor:
        """Compute the same where nothing is known, of samples of shape [C', *D']: [1, C', *D']. By default zeros."""
        return torch.zeros(1, *shape)

    @abstractmethod
    def fit(self, media: Iterable[Tensor]) -> None:
        """Set statistics from training media, each [C, *D]. Codecs without statistics do not read them."""

    def unclamped(self, x: Tensor) -> Tensor:
        """Decode without clamping to [-1, 1] where the codec can, so that gradients do not vanish at the limits."""
        return self.decode(x)

    def standalone(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments `args` of a recipe so that they build this codec from the model's own weights alone.

        A weights file carries them in its recipe: it is all that its receiver has.
        """
        return dict(args)
