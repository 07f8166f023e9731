"""The statistics of a prior: embeddings of pictures <-> what its network predicts.

    x = (e - mean)/std

Ramesh et al. 2022 (arXiv:2204.06125); the statistics stand among the weights of diffusers' PriorTransformer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from multigen.codecs import Codec
from multigen.errors import MultigenError
from multigen.families import open_family
from multigen.storage import diffusers_folder
from multigen.storage.tensors import read_shapes

_NAMES = ("clip_mean", "clip_std")


class Embedding(Codec):
    """Embeddings [B, K, 1] <-> model space [B, K, 1].

    path  the prior's folder, or its id on the hub (hf:owner/name)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, path: str | None = None) -> None:
        super().__init__()
        family = open_family(diffusers_folder.located(path))
        mean, std = _statistics(family.folder / family.network)
        self.width = len(mean)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return the same. ValueError for embeddings of another width."""
        if tuple(media) != (self.width, 1):
            raise ValueError(f"embeddings here are of shape {[self.width, 1]}, not {list(media)}.")
        return (self.width, 1)

    def encode(self, media: Tensor) -> Tensor:
        """[B, K, 1] -> normalised."""
        return (media - self.mean) / self.std

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Normalised [B, K, 1] -> embeddings. `seed` has no effect."""
        return x * self.std + self.mean

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Return the same."""
        return keep

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: the statistics come with the weights."""


def _statistics(place: Path) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, [K, 1] each. MultigenError for weights without them."""
    found: dict[str, Tensor] = {}
    for path in sorted(place.glob("*.safetensors")):
        for name in read_shapes(path).keys() & set(_NAMES):
            with safe_open(path, "pt") as file:
                found[name] = file.get_tensor(name).float().reshape(-1, 1)
    if len(found) < len(_NAMES):
        raise MultigenError(f"{place}: its weights have no {' and '.join(_NAMES)}, which a prior has")
    return found["clip_mean"], found["clip_std"]
