"""What the VAEs of pipelines in diffusers' format have in common: they are frozen, and come from a folder."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component, Frozen, Turns


class PipelineVAE(Codec):
    """The `vae` of a pipeline's folder, in fp32. It is neither trained nor saved.

    path     the folder, a single file of it, or its id on the hub (hf:owner/name)
    config   of a single file: a folder in diffusers' format that says what the file does not
    allowed  what may stand there
    tiling   large media are encoded and decoded in overlapping tiles, one after another
    slicing  a batch is encoded and decoded one after another
    turns    the model's networks take turns on the device; None: they stay
    """

    device_of: Tensor

    def __init__(
        self,
        path: str | None,
        allowed: Component,
        config: str | None = None,
        *,
        tiling: bool = False,
        slicing: bool = False,
        turns: Turns | None = None,
    ) -> None:
        super().__init__()
        self.folder = diffusers_folder.located(path, config)
        self.config = diffusers_folder.component(self.folder, "vae", allowed)
        load = functools.partial(_loaded, self.folder, allowed, tiling, slicing)
        self.network = Frozen(load, turns)
        # Follows the module to its device; never saved.
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    @property
    def vae(self) -> Any:
        """The network, on the module's device."""
        return self.network.on(self.device_of.device)

    def entry(self, key: str, annotation: Any, default: Any) -> Any:
        """Return a value of the configuration. MultigenError if it is of another type."""
        return diffusers_folder.entry(self.config, self.folder / "vae", key, annotation, default)

    def latents(self, media: Tensor, seed: int | None) -> Tensor:
        """Media in fp32 -> the mode of each posterior, or with a seed a sample of it, row k's keyed by seed + k."""
        posterior = self.vae.encode(media).latent_dist
        z = posterior.mode()
        if seed is None:
            return z
        rows = [normal(z.shape[1:], seed + k, "posterior") for k in range(len(z))]
        return z + posterior.std * torch.stack(rows).to(z.device)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: what scales the latents comes with the weights."""


def _loaded(folder: Path, allowed: Component, tiling: bool, slicing: bool) -> Any:
    network: Any = diffusers_folder.network(folder, "vae", allowed)
    if tiling:
        network.enable_tiling()
    if slicing:
        network.enable_slicing()
    return network


def check_multiple(multiple: int) -> None:
    """ValueError for a factor of the sides of latents below 1."""
    if multiple < 1:
        raise ValueError(f"multiple: {multiple!r} is not allowed. Allowed: 1 or more.")
