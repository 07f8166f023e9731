"""What makes a VAE: the layout of its network, its posterior, and trained weights as the codec is given them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from multigen.errors import RecipeError, message

INCLUDED = "included"  # the weights come with those of the model whose codec this is


@dataclass(frozen=True)
class Layout:
    """The network of a VAE.

    latents    channels of the latents
    patch      side of the blocks of pixels that are folded into channels
    widths     channels of each level; every level but the first halves the axes
    blocks     residual blocks of each level; the decoder has one more
    attention  whether the deepest level attends
    kernel     width of the convolutions
    groups     most groups of a normalisation

    Raises ValueError for values out of range.
    """

    latents: int = 4
    patch: int = 2
    widths: tuple[int, ...] = (48, 96)
    blocks: int = 1
    attention: bool = False
    kernel: int = 3
    groups: int = 32

    def __post_init__(self) -> None:
        counts = {"latents": self.latents, "patch": self.patch, "blocks": self.blocks, "groups": self.groups}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 1 or more.")
        if not self.widths or min(self.widths) < 2:
            raise ValueError(
                f"widths: {list(self.widths)} is not allowed. Allowed: 2 channels or more, for one level or more."
            )
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"kernel: {self.kernel} is not allowed. Allowed: odd numbers.")

    @property
    def factor(self) -> int:
        """By how much height and width, or the samples of a sound, shrink."""
        return self.patch * 2 ** (len(self.widths) - 1)

    def contradictions(self, other: Layout) -> list[str]:
        """List what was asked for, since it is no default, and is not so in another layout."""
        mine, theirs, plain = (dataclasses.asdict(one) for one in (self, other, Layout()))
        rows = [k for k, v in mine.items() if v not in (plain[k], theirs[k])]
        return [f"{k}: {_plain(theirs[k])} there, {_plain(mine[k])} here" for k in rows]


class Posterior(NamedTuple):
    """A normal distribution of latents: mean and logarithm of the variance, [B, C, *D] each."""

    mean: Tensor
    log_variance: Tensor

    @staticmethod
    def of(moments: Tensor) -> Posterior:
        """[B, 2 C, *D] -> a posterior of C channels. The variance is kept within what fp32 can square."""
        mean, log_variance = moments.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-30, 20))

    def sample(self, noise: Tensor) -> Tensor:
        """mean + deviation * noise, noise [B, C, *D]: Kingma & Welling 2014 (arXiv:1312.6114), section 2.4."""
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from the standard normal, mean over all values, 0-d.

            (mean^2 + variance - 1 - log variance)/2

        Kingma & Welling 2014 (arXiv:1312.6114), appendix B.
        """
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).mean()


@dataclass(frozen=True)
class VAEWeights:
    """A trained VAE, as the codec is given it.

    tensors   the state of the codec's network
    layout    of the network
    channels  of the media
    axes      of the media
    rate      of sounds, Hz; None for others
    where     what error messages call it
    """

    tensors: Mapping[str, Tensor]
    layout: Layout
    channels: int
    axes: int
    rate: int | None
    where: str


# Loads weights by file or run folder. RecipeError if there are none.
LoadVAE: TypeAlias = Callable[[str], VAEWeights]


def no_weights(source: str) -> VAEWeights:
    """Refuse every source: the loader of a codec that is built without one."""
    raise RecipeError(message("codec.weights", source, [INCLUDED, "null"]))


def scaling(sums: tuple[int, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel from count, sum and sum of squares."""
    count, total, square = sums
    mean = total / count
    return mean, (square / count - mean.square()).clamp_min(1e-8).sqrt()


def channel_sums(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Count, sum and sum of squares of each channel of [B, C, *D], in float64 on the CPU."""
    flat = x.transpose(0, 1).flatten(1).to("cpu").to(torch.float64)
    return flat.shape[1], flat.sum(1), flat.square().sum(1)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
