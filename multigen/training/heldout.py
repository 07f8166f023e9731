"""Losses by noise level: on some items with fixed noise, so that they differ by the weights alone; in training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.cascades import Cascade
from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.noise import normal
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError
from multigen.training.adapting import Adaptation, led, recaptioned
from multigen.training.batch import Read, collate
from multigen.training.distillation import Distillation, Lesson, taught

# log(sigma/alpha) at which the loss is measured, clamped to what the schedule reaches.
LEVELS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


class HeldOut:
    """Measures the mean loss in F space on some items at each of `LEVELS`.

    indices   held-out items, or for comparison items trained on; `count` of them are used, evenly spaced
    batch     items in a network call
    masked    the network also sees which part of a medium is known: here nothing is
    cascade   how it sees the stage before it, here with the noise of sampling; None where it is the first
    adapter   what learns beside the frozen weights, if they are
    distilled how the network learns from a teacher: the loss is that of its lessons
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Sequence[int],
        codec: Codec,
        conditioner: Conditioner,
        denoiser: Denoiser,
        seed: int,
        device: torch.device,
        *,
        count: int = 32,
        batch: int = 16,
        masked: bool = False,
        cascade: Cascade | None = None,
        adapter: Adaptation | None = None,
        distilled: Distillation | None = None,
    ) -> None:
        self.distilled = distilled
        self.masked, self.cascade, self.adapter = masked, cascade, adapter
        self.dataset, self.codec, self.conditioner, self.denoiser = dataset, codec, conditioner, denoiser
        self.seed, self.device, self.batch = seed, device, batch
        stride = max(len(indices) // count, 1)
        self.indices = list(indices)[::stride][:count]

    @torch.no_grad()
    def measure(self, step: int = 0) -> dict[str, float]:
        """Return {"-3.0": loss at log(sigma/alpha) = -3, ..., "mean": ...}. Empty without items.

        step   of the training, on which the loss of a distillation may depend
        """
        return by_level(self.each(step)[1])

    @torch.no_grad()
    def each(self, step: int = 0) -> tuple[list[str], Tensor]:
        """Return the ids of the items, and their losses [n, levels], float64 on the CPU."""
        items, rows = self._items(), list[Tensor]()
        for start in range(0, len(items), self.batch):
            part = items[start : start + self.batch]
            batch = collate([Read(item, {}) for item in part])
            x0 = self.codec.encode(batch.media.to(self.device))
            heard = recaptioned(batch.given, self.adapter)
            cond = self.conditioner.beside(heard, tuple(batch.media.shape[1:]), x0.shape[2:])
            cond = led(cond.to(self.device), batch.given, self.adapter, self.device)
            if self.cascade is not None:
                cond = cond.join_grid(self._seen(self.cascade, batch.media.to(self.device), start))
            if self.masked:  # nothing is known, as when a whole medium is generated
                unknown = self.codec.unknown(tuple(x0.shape[1:])).to(x0)
                blank = unknown.new_zeros(1, self.codec.mask_width, *unknown.shape[2:])
                cond = cond.join_grid(torch.cat([blank, unknown], dim=1))
            found: list[Tensor] = []
            for level in LEVELS:
                noise = [
                    normal(x0.shape[1:], self.seed, "held_out", str(level), start + k)
                    for k in range(len(part))
                ]
                t = self._time(level).expand(len(part))
                found.append(self._loss(x0, t, cond, torch.stack(noise).to(self.device), step))
            rows.append(torch.stack(found, 1).double().cpu())
        return [item["id"] for item in items], torch.cat(rows) if rows else torch.zeros(0, len(LEVELS))

    def _loss(self, x0: Tensor, t: Tensor, cond: Cond, noise: Tensor, step: int) -> Tensor:
        """Loss [B] in F space, from the data or from the teacher."""
        if self.distilled is None:
            return self.denoiser.loss(x0, t, cond, noise)
        t, u = self.distilled.times(t), torch.full((len(x0),), 0.5)
        null = self.conditioner.null(len(x0)).to(self.device).without_grid(cond)
        rows = Lesson(x0, t, cond, null, u, step)
        x0, noise = taught(self.distilled, self.denoiser.schedule, rows, noise)
        return self.denoiser.loss(x0, t, self.distilled.told(cond, u.to(self.device)), noise)

    def _seen(self, cascade: Cascade, media: Tensor, first: int) -> Tensor:
        """What the network sees of the stage before, of media [B, C, *D] with the places from `first` on."""
        seen = cascade.seen(cascade.reduced(media), tuple(media.shape[2:]))
        rows = [normal(seen.shape[1:], self.seed, "held_out", "cascade", first + k) for k in range(len(seen))]
        level = torch.full((len(seen),), cascade.level)
        return cascade.condition(seen, level, torch.stack(rows).to(self.device))

    def _items(self) -> list[Item]:
        items = []
        for index in self.indices:
            try:
                items.append(self.dataset[index])
            except MediaError:  # the loader reports unreadable files; here the others are enough
                continue
        return items

    def _time(self, level: float) -> Tensor:
        t = self.denoiser.schedule.inverse(torch.tensor([-2 * level], dtype=torch.float64))
        return t.clamp(1e-6, 1 - 1e-6)


def by_level(losses: Tensor) -> dict[str, float]:
    """Return the means of losses [n, levels], as `HeldOut.measure` does."""
    if not len(losses):
        return {}
    row = dict(zip(map(str, LEVELS), losses.mean(0).tolist(), strict=True))
    return {**row, "mean": sum(row.values()) / len(row)}


class ByLevel:
    """Mean training loss of the noise levels nearest to each of `LEVELS`, summed on the device of the losses."""

    def __init__(self, device: torch.device) -> None:
        self.levels = torch.tensor(LEVELS, dtype=torch.float64, device=device)
        self.sums = torch.zeros(2, len(LEVELS), dtype=torch.float64, device=device)  # losses, counts

    def add(self, log_snr: Tensor, losses: Tensor) -> None:
        """Add losses [B] in F space at log-SNR [B], ignoring non-finite ones, without waiting for the device."""
        nearest = (-log_snr.double()[:, None] / 2 - self.levels).abs().argmin(1)
        finite = losses.isfinite()
        self.sums.index_add_(1, nearest, torch.stack([losses.where(finite, 0), finite]).double())

    def drain(self) -> dict[str, float]:
        """Return {"-3.0": mean loss, ...} for the levels seen since the last call."""
        sums, counts = self.sums.tolist()
        self.sums.zero_()
        return {str(n): s / c for n, s, c in zip(LEVELS, sums, counts, strict=True) if c}
