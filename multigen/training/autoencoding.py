"""Autoencoding: the task of recipes that train a KL-VAE."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen import registry
from multigen.codecs import Codec
from multigen.codecs.fidelity import LogMel, psnr, ssim
from multigen.codecs.kl_vae import KLVAE
from multigen.core.upload import upload
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.recipe.schema import Train
from multigen.registry import Part
from multigen.training import ranks
from multigen.training.coding import Coding, Copies
from multigen.training.draws import Places, draws
from multigen.training.reconstructions import Reconstruction


class Autoencoding(Coding):
    """Teaches a VAE to copy media through samples of its latents.

        loss = reconstruction + kl KL(posterior, standard normal) + adversarial losses

    Esser et al. 2021 (arXiv:2012.09841), section 3.1; Rombach et al. 2022 (arXiv:2112.10752), appendix G.

    precision  autocast dtype of the VAE in training; None: fp32. Losses are computed in fp32
    """

    def __init__(
        self,
        *,
        codec: Codec,
        modality: Modality,
        dataset: Dataset,
        settings: Train,
        seed: int,
        device: torch.device,
        precision: torch.dtype | None = None,
    ) -> None:
        if not isinstance(codec, KLVAE) or not codec.learns:
            raise RecipeError("codec: only a VAE without weights can be trained (kl_vae, codec.weights=null)")
        super().__init__(
            codec=codec, modality=modality, dataset=dataset, settings=settings, seed=seed, device=device
        )
        self.codec, self.precision = codec, precision
        self.reconstruction = build_reconstruction(settings.reconstruction, modality).to(device)
        self.draws = draws(seed, device)
        self.log_mel = LogMel(modality.shape(duration=1.0)[1]).to(device) if codec.axes == 1 else None

    def copies(self, media: Tensor, step: int) -> Copies:
        """Copy media [B, C, *D] through samples of their posteriors, keyed by (seed, step, row)."""
        real = self._cut(upload(media, self.device))
        size = len(real) * ranks.world()
        shape = self.codec.shape(tuple(real.shape[1:]))
        noise = self.draws.normal(shape, "posterior", step, Places(size, ranks.rows(size)))
        with torch.autocast(self.device.type, self.precision, enabled=self.precision is not None):
            posterior = self.codec.posterior(real)
            posterior = type(posterior)(*(x.float() for x in posterior))
            made = self.codec.decoded(posterior.sample(noise)).float()
        loss = self.reconstruction(made, real) + self.codec.kl * posterior.divergence()
        return Copies(real, made, loss)

    def errors(self, media: Tensor) -> dict[str, float]:
        """Measure the copy through the mode: PSNR (dB) and SSIM, or a sound's log-mel error; its loss as "mean"."""
        real = self._cut(media.to(self.device).float())
        made = self.codec.decode(self.codec.encode(real))
        row = {"psnr": psnr(made, real).item()}
        if self.log_mel is None:
            row["ssim"] = ssim(made, real).item()
        else:
            row["log-mel"] = self.log_mel(made, real).item()
        return {**row, "mean": self.reconstruction(made, real).item()}

    def _cut(self, media: Tensor) -> Tensor:
        """A sound without the last samples, which are no whole latent."""
        if self.codec.axes > 1:
            return media
        return media[..., : media.shape[-1] // self.codec.factor * self.codec.factor]


def build_reconstruction(part: Part | None, modality: Modality) -> Reconstruction:
    """Build what compares copies with their originals; by default `sounds` or `pictures`."""
    chosen = part or Part("sounds" if len(modality.shape()) == 2 else "pictures")
    return registry.build(
        "reconstruction", chosen, where="train.reconstruction", given={"modality": modality}
    )
