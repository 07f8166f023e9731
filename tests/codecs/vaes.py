"""Tiny VAEs, untrained: of pictures, sounds and videos."""

from __future__ import annotations

from pathlib import Path

from multigen.codecs.kl_vae import KLVAE
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

MODALITIES: dict[str, Modality] = {
    "image": Image(size=16),
    "audio": Audio(rate=8000, seconds=0.256),
    "video": Video(size=16, frames=3, fps=8.0),
}
NETWORK = "codec={name: kl_vae, latents: 3, widths: [8,16]}"
TINY = [NETWORK, "modality.size=16"]
SOUND = [NETWORK, "modality={name: audio, rate: 8000, seconds: 0.5}", "train.critic=null"]


def vae(name: str = "image", **settings: object) -> KLVAE:
    """A VAE that is to be trained."""
    return KLVAE(**{"modality": MODALITIES[name], "latents": 3, "widths": (8, 16), **settings})  # type: ignore[arg-type]


def saved_vae(folder: Path, overrides: list[str] = TINY) -> Path:
    """The weights file of a VAE as the recipe `vae_folder` leaves it."""
    model = Model(load_recipe("vae_folder", overrides), device="cpu")
    return model.save(folder / "vae.safetensors")
