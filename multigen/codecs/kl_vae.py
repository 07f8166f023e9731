"""A KL-VAE of our own: pictures, sounds and videos <-> latents, trained on the user's media.

    x = (z - mean)/scale,    z the mode of the encoder's posterior

Kingma & Welling 2014 (arXiv:1312.6114); for latent diffusion Rombach et al. 2022 (arXiv:2112.10752), section 3.1. Mean
and scale of each channel of the latents are measured over the media of the training that uses them, so that the
diffusion begins with unit variance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from multigen.backbones.autoencoder import Decoder, Encoder
from multigen.codecs import Codec
from multigen.codecs.trained_vae import (
    INCLUDED,
    Layout,
    LoadVAE,
    Posterior,
    VAEWeights,
    channel_sums,
    no_weights,
    scaling,
)
from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.registry import Given


class KLVAE(Codec):
    """Media [B, C, *D] in [-1, 1] <-> latents [B, latents, *D / f] near unit variance, f = patch * 2^(levels - 1).

    modality   gives channels and axes
    load_vae   loads the weights of a trained VAE by file or run folder
    weights    of a trained VAE: a run folder or a file, whose layout is taken; null: to be trained, by a recipe without
               a backbone; included: they come with the weights of the model whose codec this is
    latents    channels of the latents
    patch      side of the blocks of pixels (samples of a sound) that are folded into channels first
    widths     channels of each level; every level but the first halves the axes. A video's time is never resampled
    blocks     residual blocks of each level; the decoder has one more
    attention  whether the deepest level attends
    kernel     width of the convolutions, odd
    groups     most groups of a normalisation
    kl         weight of the Kullback-Leibler divergence, per value of the latents, in training

    Raises ValueError for values out of range, RecipeError for weights that are of other media.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        modality: Given[Modality],
        load_vae: Given[LoadVAE] = no_weights,
        weights: str | None = None,
        latents: int = 4,
        patch: int = 2,
        widths: tuple[int, ...] = (48, 96),
        blocks: int = 1,
        attention: bool = False,
        kernel: int = 3,
        groups: int = 32,
        kl: float = 1e-5,
    ) -> None:
        super().__init__()
        layout = Layout(latents, patch, tuple(widths), blocks, attention, kernel, groups)
        if not kl >= 0:
            raise ValueError(f"kl: {kl} is not allowed. Allowed: 0 or more.")
        shape = modality.shape()
        self.media_channels, self.axes = shape[0], len(shape) - 1
        trained = None if weights in (None, INCLUDED) else load_vae(str(weights))
        if trained is not None:
            _check(trained, layout, modality)
            layout = trained.layout
        self.layout, self.kl, self.learns, self.factor = layout, kl, weights is None, layout.factor
        self.named = trained is not None
        self.network = _network(layout, self.media_channels, self.axes)
        self.register_buffer("mean", torch.zeros(layout.latents))
        self.register_buffer("scale", torch.ones(layout.latents))
        if trained is not None:
            self.network.load_state_dict(dict(trained.tensors))
        if not self.learns:
            self.network.eval().requires_grad_(False)

    def standalone(self, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that build this codec for its own weights, wherever the VAE's are."""
        if not self.named:
            return dict(args)
        layout = {
            k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self.layout).items()
        }
        return {**args, **layout, "weights": INCLUDED}

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, *D] -> [latents, *D / f]. A sound's last samples, fewer than f, are left out.

        Raises ValueError for media of other channels or axes, and for sides that f does not divide.
        """
        f = self.factor
        if len(media) != self.axes + 1 or media[0] != self.media_channels:
            what = {1: "sounds", 2: "pictures", 3: "videos"}[self.axes]
            raise ValueError(
                f"this VAE takes {what} of {self.media_channels} channels, not media of shape {tuple(media)}."
            )
        if self.axes == 1:
            if media[1] < f:
                raise ValueError(f"{media[1]} samples are too short: the VAE's factor is {f}.")
            return self.layout.latents, media[1] // f
        *_, height, width = media
        if height % f or width % f:
            raise ValueError(f"the VAE's factor {f} does not divide the size {height} x {width}.")
        return (self.layout.latents, *media[1:-2], height // f, width // f)

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, *D] with height and width, or samples, up to multiples of f."""
        strided = min(self.axes, 2)
        return (*media[:-strided], *(-(-n // self.factor) * self.factor for n in media[-strided:]))

    def posterior(self, media: Tensor) -> Posterior:
        """[B, C, *D] in [-1, 1] -> the posterior of its latents, not yet scaled."""
        self.shape(tuple(media.shape[1:]))
        if self.axes == 1:
            media = media[..., : media.shape[-1] // self.factor * self.factor]
        return Posterior.of(self.network["encoder"](media))

    def decoded(self, latents: Tensor) -> Tensor:
        """Latents that are not scaled [B, latents, *D / f] -> [B, C, *D], not clamped."""
        return self.network["decoder"](latents)

    def encode(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, latents, *D / f], the mode of each posterior, in fp32."""
        with torch.autocast(media.device.type, enabled=False):
            return (self.posterior(media.float()).mean - _each(self.mean, media)) / _each(self.scale, media)

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, latents, *D / f] -> [B, C, *D], clamped to [-1, 1]. `seed` has no effect."""
        return self.unclamped(x).clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """[B, latents, *D / f] -> [B, C, *D], not clamped, in fp32."""
        with torch.autocast(x.device.type, enabled=False):
            return self.decoded(x.float() * _each(self.scale, x) + _each(self.mean, x))

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of f pixels (samples) a side that are all kept: bool [*D] -> bool [*D / f].

        Convolutions reach further, so latents near the border are not known exactly. The kept places themselves are put
        back after decoding.
        """
        f, strided = self.factor, min(self.axes, 2)
        for axis in range(keep.ndim - strided, keep.ndim):
            keep = keep.narrow(axis, 0, keep.shape[axis] // f * f).unflatten(axis, (-1, f)).all(axis + 1)
        return keep

    @torch.no_grad()
    def fit(self, media: Iterable[Tensor]) -> None:
        """Measure mean and deviation of the latents of media [C, *D]. Nothing to do for a VAE that is to be trained.

        Raises MultigenError for a VAE whose weights were to come with a model's, and did not.
        """
        if self.learns:
            return
        if not self.named:
            raise MultigenError(
                f"codec.weights: {INCLUDED} stands for the weights of a trained model, as in train.init, and there are "
                "none. Name a trained VAE: its run folder, or a file."
            )
        sums = None
        for one in media:
            new = channel_sums(self.posterior(one[None].to(self.mean)).mean)
            sums = new if sums is None else (sums[0] + new[0], sums[1] + new[1], sums[2] + new[2])
        if sums is None:
            raise MultigenError("codec: there are no media to measure the latents of")
        mean, scale = scaling(sums)
        self.mean.copy_(mean.float())
        self.scale.copy_(scale.float())


def _network(layout: Layout, channels: int, axes: int) -> nn.ModuleDict:
    shared: dict[str, Any] = {
        "axes": axes,
        "channels": channels,
        "patch": layout.patch,
        "widths": layout.widths,
        "blocks": layout.blocks,
        "attention": layout.attention,
        "kernel": layout.kernel,
        "groups": layout.groups,
    }
    encoder = Encoder(out_channels=2 * layout.latents, **shared)
    return nn.ModuleDict({"encoder": encoder, "decoder": Decoder(in_channels=layout.latents, **shared)})


def _check(trained: VAEWeights, layout: Layout, modality: Modality) -> None:
    """Raise RecipeError for a VAE of other media than the modality's, or of another layout than was asked for."""
    shape = modality.shape()
    there, here = (trained.channels, trained.axes), (shape[0], len(shape) - 1)
    rows = layout.contradictions(trained.layout)
    for name, one, other in zip(("channels", "axes"), there, here, strict=True):
        rows += [f"{name}: {one} there, {other} here"] if one != other else []
    if here[1] == trained.axes == 1 and trained.rate != modality.shape(duration=1.0)[1]:
        rows.append(f"rate: {trained.rate} Hz there, {modality.shape(duration=1.0)[1]} Hz here")
    if rows:
        raise RecipeError(
            f"codec.weights: the VAE {trained.where} is another ({'; '.join(rows)}). Make these equal."
        )


def _each(value: Tensor, x: Tensor) -> Tensor:
    """[C] as it multiplies [B, C, *D]."""
    return value.view(-1, *[1] * (x.ndim - 2))
