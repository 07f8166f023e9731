"""Training examples: the noise level, the noise and the condition on which each row of a batch is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.cascades import Cascade
from multigen.codecs import Codec
from multigen.core import masks
from multigen.core.conditioning import Cond
from multigen.core.noise import uniform
from multigen.core.schedules import Schedule
from multigen.core.upload import upload
from multigen.recipe.schema import Train
from multigen.training.draws import Places, draws
from multigen.training.sizes import Sizes


class Examples:
    """Draws examples, keyed by (seed, step, position in the global batch).

    masked   the network also sees which part of a medium is known
    cascade  how it sees the stage before it; None where it is the first
    sizes    sizes of the media, for `train.size_shift`
    """

    def __init__(
        self,
        schedule: Schedule,
        settings: Train,
        *,
        seed: int,
        device: torch.device,
        masked: bool,
        cascade: Cascade | None,
        sizes: Sizes | None,
    ) -> None:
        self.schedule, self.settings, self.seed, self.device = schedule, settings, seed, device
        self.masked, self.cascade, self.sizes = masked, cascade, sizes
        self.draws = draws(seed, device)
        self.noise_level = registry.build("noise_level", settings.noise_level, where="train.noise_level")

    def levels(self, size: int, step: int) -> Tensor:
        """Draw u [B] in [0, 1) for a global batch of `size`, stratified: row k of B gets (k + offset)/B.

        Lower variance than independent draws (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).
        """
        offset = uniform((1,), self.seed, "level", step).double()
        return (offset + torch.arange(size, dtype=torch.float64) / size) % 1

    def times(self, u: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Turn u [B] into times t [B], for media of `shape`."""
        t = self.noise_level(self.schedule, u)
        if self.sizes is None or not self.settings.size_shift:
            return t
        return self.sizes.shifted(self.schedule, t, shape)

    def noise(self, shape: tuple[int, ...], step: int, places: Places) -> Tensor:
        """Draw noise [B, C, *D]. With `train.offset_noise` s it includes s times a constant for each channel.

        The network then learns to move the mean of a picture, which a schedule that never quite reaches pure noise
        gives away (Guttenberg 2023, "Diffusion with offset noise"). At alpha = 0 (flow, zero terminal SNR) nothing is
        given away, and sampling starts from noise without offsets: leave it 0 there.
        """
        noise = self.draws.normal(shape, "noise", step, places)
        strength = self.settings.offset_noise
        if not strength:
            return noise
        flat = (shape[0], *[1] * (len(shape) - 1))
        return noise + strength * self.draws.normal(flat, "offset", step, places)

    def conditioned(self, step: int, places: Places) -> Tensor:
        """Draw which rows keep their condition: bool [B], on the CPU. The others are unconditional."""
        return self.draws.uniform("dropout", step, places) >= self.settings.cond_dropout

    def without_parts(self, cond: Cond, null: Cond, step: int, places: Places) -> Cond:
        """Replace single parts of the condition with those of the null condition, by `train.drop`."""
        drop = self.settings.drop
        for name, share, part in (
            ("vector", drop.vector, cond.vector),
            ("tokens", drop.tokens, cond.tokens),
            ("grid", drop.grid, cond.grid),
        ):
            if share > 0 and part is not None:
                kept = self.draws.uniform(f"drop-{name}", step, places) >= share
                cond = cond.where(upload(kept, self.device), null, name)
        return cond

    def cascade_channels(self, cascade: Cascade, media: Tensor, step: int, places: Places) -> Tensor:
        """Make pairs of media [B, C, *D] on the device and what the stage before would have made of each.

        Returns the channels that show the network the latter, with noise at a level that is drawn for each row.
        """
        seen = cascade.seen(cascade.reduced(media), tuple(media.shape[2:]))
        level = cascade.noise * self.draws.uniform("cascade", step, places)
        noise = self.draws.normal(tuple(seen.shape[1:]), "cascade", step, places)
        return cascade.condition(seen, upload(level, self.device), noise)

    def mask_channels(
        self, codec: Codec, media: Tensor, x0: Tensor, step: int, places: Sequence[int]
    ) -> Tensor:
        """Draw what is known of each of the media [B, C, *D], encoded as x0 [B, C', *D'].

        Returns the channels that show the network what it is shown of them in sampling, [B, K + C', *D'].
        """
        size = tuple(media.shape[2:])
        u = [uniform((2 + 4 * len(size),), self.seed, "mask", step, k) for k in places]
        keep = torch.cat([masks.random_mask(size, one) for one in u])
        seen = torch.stack([codec.shown_mask(one) for one in keep])
        with torch.no_grad():
            known = codec.known_of(upload(media, self.device), upload(keep, self.device), x0)
        return torch.cat([upload(seen, self.device).to(x0), known], dim=1)
