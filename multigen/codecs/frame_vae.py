"""Videos through the VAE of a latent diffusion pipeline, each frame by itself."""

from __future__ import annotations

from collections.abc import Iterable

from einops import rearrange
from torch import Tensor

from multigen.codecs import Codec
from multigen.codecs.vae import VAE
from multigen.registry import Given
from multigen.storage.diffusers_folder import Turns


class FrameVAE(Codec):
    """Videos [B, 3, T, H, W] in [-1, 1] <-> latents [B, C, T, H / f, W / f], in fp32.

    path      the pipeline's folder, whose `vae` is used, a single file of it, or its id on the hub (hf:owner/name)
    config    of a single file: a folder in diffusers' format that says what the file does not
    multiple  sides of latents are multiples of it
    tiling    frames are encoded and decoded in overlapping tiles, one after another: less memory, faint seams
    slicing   the frames of a batch one after another: less memory

    It is neither trained nor saved.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        config: str | None = None,
        multiple: int = 1,
        tiling: bool = False,
        slicing: bool = False,
        turns: Given[Turns | None] = None,
    ) -> None:
        super().__init__()
        self.frame = VAE(
            path=path, config=config, multiple=multiple, tiling=tiling, slicing=slicing, turns=turns
        )

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C, T, H / f, W / f]. ValueError for other media, and for sides that f does not divide."""
        if len(media) != 4:
            raise ValueError(f"this VAE takes videos, not media of shape {tuple(media)}.")
        channels, *sides = self.frame.shape((media[0], *media[2:]))
        return channels, media[1], *sides

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, T, H, W] with sides up to multiples of f, times `multiple`."""
        return self.frame.whole(media)

    def encode(self, media: Tensor) -> Tensor:
        """[B, 3, T, H, W] -> [B, C, T, H / f, W / f], frame by frame."""
        frames = (self.frame.encode(frame) for frame in rearrange(media, "b c t h w -> t b c h w"))
        return rearrange(list(frames), "t b c h w -> b c t h w")

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C, T, H / f, W / f] -> [B, 3, T, H, W], clamped to [-1, 1]. `seed` has no effect."""
        frames = (self.frame.decode(frame) for frame in rearrange(x, "b c t h w -> t b c h w"))
        return rearrange(list(frames), "t b c h w -> b c t h w")

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of f x f pixels of a frame that are all kept: bool [T, H, W] -> bool [T, H / f, W / f]."""
        f = self.frame.factor
        return rearrange(keep, "t (h f) (w g) -> t h w (f g)", f=f, g=f).all(-1)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: the scaling factor comes with the weights."""
