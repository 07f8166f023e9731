"""A task is what a training teaches: which networks learn, and the losses that they learn from.

The trainer steps optimizers, averages, saves and resumes; a task only answers. `Diffusion` teaches a denoiser.
"""

from __future__ import annotations

import dataclasses
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core import masks
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.noise import stream, uniform
from multigen.core.upload import upload
from multigen.datasets import Dataset
from multigen.recipe.schema import Train
from multigen.storage.disk_cache import DiskCache
from multigen.training import ranks
from multigen.training.compiled import compiled
from multigen.training.draws import Places, draws
from multigen.training.encoded import Encoded, varies
from multigen.training.heldout import ByLevel, HeldOut
from multigen.training.loader import Batch
from multigen.training.sizes import Sizes
from multigen.training.uncertainty import Uncertainty

log = logging.getLogger(__name__)

# The network that is averaged, measured and kept; others, such as a critic, only help it to learn.
MODEL = "model"
UNCERTAINTY = "uncertainty"


class Task(ABC):
    """What is learned, and its losses. All randomness is keyed by (seed, step, position in the batch)."""

    networks: Mapping[str, nn.Module]  # MODEL, and what helps it; each has an optimizer of its own
    base: str | None = (
        None  # hash of the frozen weights beside which an adapter learns; None: all learns, or is saved
    )

    @abstractmethod
    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        """(network, parts that add up to its loss), one network after the other.

        The batch holds the rows of this rank (`ranks.rows`); the ranks' losses add up to the global batch's.

        The trainer steps a network before it asks for the next. `progress` is the share of the training done.
        """

    @abstractmethod
    def measure(self) -> dict[str, float]:
        """Held-out loss, "mean" and what it is made of; empty if nothing is held out."""

    @abstractmethod
    def details(self) -> dict[str, float]:
        """Mean training loss since the last call, by what it is made of; empty if it has no such parts."""

    @abstractmethod
    def mode(self, training: bool) -> None:
        """Layers that differ between training and use (dropout) are told."""

    @abstractmethod
    def training(self) -> AbstractContextManager[None]:
        """What holds from the first step to the last, such as the precision."""


class Diffusion(Task):
    """Teaches a denoiser, and what its conditioner learns, to remove noise from what the codec encodes.

    `precision` is the autocast dtype of the network while training. Parameters, gradients, optimizer state and averages
    are fp32 whatever it is: bf16 is what autocast computes in, never what is stored.
    """

    def __init__(
        self,
        *,
        denoiser: Denoiser,
        conditioner: Conditioner,
        codec: Codec,
        dataset: Dataset,
        settings: Train,
        seed: int,
        device: torch.device,
        precision: torch.dtype | None = None,
        base: str | None = None,
        masked: bool = False,
        sizes: Sizes | None = None,
    ) -> None:
        self.denoiser, self.conditioner, self.codec, self.base = denoiser, conditioner, codec, base
        self.masked, self.sizes = masked, sizes
        self.settings, self.seed, self.device, self.precision = settings, seed, device, precision
        learned = {"backbone": denoiser.backbone, "conditioner": conditioner, "codec": codec}
        networks: dict[str, nn.Module] = {MODEL: nn.ModuleDict(learned)}
        self.uncertainty: Uncertainty | None = None
        if settings.uncertainty:
            self.uncertainty = networks[UNCERTAINTY] = Uncertainty().to(device)
        self.networks = networks
        self.by_level = ByLevel(device)
        self.noise_level = registry.build("noise_level", settings.noise_level, where="train.noise_level")
        self.objective = registry.build("objective", settings.objective, where="train.objective")
        self.dataset = dataset
        held_out = dataset.split()[1]
        self.held_out = HeldOut(dataset, held_out, codec, conditioner, denoiser, seed, device, masked=masked)
        self._cached: Encoded | None = None
        self.draws = draws(seed, device)
        # Without the coefficients: those are float64 and on the CPU.
        self.loss_at = compiled(denoiser.loss_at) if settings.compile else denoiser.loss_at

    def encode(self, media: Tensor) -> Tensor:
        """Media [B, C, *D] -> x0 on the device, from the cache where `train.cache` has one."""
        return self.codec.encode(upload(media, self.device)) if self._cached is None else self._cached(media)

    @contextmanager
    def training(self) -> Iterator[None]:
        sampling, self.denoiser.precision = self.denoiser.precision, self.precision
        try:
            with self._caching():
                yield
        finally:
            self.denoiser.precision = sampling

    @contextmanager
    def _caching(self) -> Iterator[None]:
        """Keep on disk what is made of media that do not vary, and of texts, inside the block, by `train.cache`."""
        if self.settings.cache <= 0:
            yield
            return
        cache, conditioner = DiskCache(self.settings.cache), self.conditioner
        if varies(self.dataset, self.seed, self.sizes):
            log.warning("train.cache: crops or augmentation make each medium anew; no media are cached")
        else:
            self._cached = Encoded(self.codec, cache, self.device)
        texts = conditioner.use_cache(cache)
        try:
            yield
        finally:
            for what, kept in {"encoded media": self._cached, "texts": texts}.items():
                if kept is not None:
                    log.info("%s: %d from the cache, %d made", what, kept.hits, kept.misses)
            self._cached = None
            conditioner.use_cache(None)

    def mode(self, training: bool) -> None:
        self.denoiser.train(training)

    def measure(self) -> dict[str, float]:
        """Mean loss in F space at each of the noise levels `heldout.LEVELS`."""
        return self.held_out.measure()

    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        met: list[tuple[Tensor, Tensor]] = []
        yield MODEL, self._parts(batch, step, met)
        if self.uncertainty is not None:
            log_snr, weighted = (torch.cat(column) for column in zip(*met, strict=True))
            whole = len(batch.ids) * ranks.world()
            yield UNCERTAINTY, iter([self.uncertainty.loss(weighted, log_snr).sum() / whole])

    def details(self) -> dict[str, float]:
        """Mean loss in F space of the levels near `heldout.LEVELS` that were trained at."""
        return self.by_level.drain()

    def _parts(self, batch: Batch, step: int, met: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """This rank's share of the global batch's mean loss, in `accumulate` parts that add up to it.

        `met` gets the log-SNRs and weighted losses of each part, without their graph.
        What the network itself draws (dropout) is keyed by the part, and differs with the number of parts and ranks.
        """
        size = len(batch.ids)
        whole = size * ranks.world()
        places = ranks.rows(whole)  # of our rows in the global batch
        part = -(-size // self.settings.accumulate)
        u = self.levels(whole, step)[places.start : places.stop]
        keep = self.draws.uniform("dropout", step, Places(whole, places)) >= self.settings.cond_dropout
        for start in range(0, size, part):
            rows = slice(start, min(start + part, size))
            count = rows.stop - rows.start
            with torch.no_grad():
                x0 = self.encode(batch.media[rows])
            here = Places(whole, places[rows])
            given = {name: values[rows] for name, values in batch.given.items()}
            cond = self.conditioner(given).to(self.device)
            null = self.conditioner.null(count).to(self.device)
            cond = cond.where(upload(keep[rows], self.device), null)
            cond = self._dropped(cond, null, step, here)
            if self.masked:
                cond = cond.with_grid(self._view(x0, step, places[rows]))
            t = self._times(u[rows], tuple(batch.media.shape[1:]))
            weight = upload(self.objective(self.denoiser, t), self.device, x0.dtype)
            devices = [self.device.index or 0] if self.device.type == "cuda" else []
            with torch.random.fork_rng(devices=devices):  # what the network itself draws: dropout
                torch.manual_seed(stream(self.seed, "network", step, places[start]).initial_seed())
                losses = self._losses(x0, t, cond, self._noise(tuple(x0.shape[1:]), step, here))
            log_snr = upload(self.denoiser.schedule.log_snr(t.double()), self.device)
            self.by_level.add(log_snr, losses.detach())
            losses = losses * weight
            met.append((log_snr, losses.detach()))
            if self.uncertainty is not None:
                losses = losses / self.uncertainty(log_snr).detach().exp()
            yield losses.sum() / whole

    def _losses(self, x0: Tensor, t: Tensor, cond: Cond, noise: Tensor) -> Tensor:
        """[B], in F space."""
        scales = upload(self.denoiser.loss_scales(t, self.settings.huber), self.device, x0.dtype)
        return self.loss_at(x0, cond, noise, scales, self.settings.huber)

    def _dropped(self, cond: Cond, null: Cond, step: int, places: Places) -> Cond:
        """Single parts of the condition left out, by `train.drop`."""
        for name, share in dataclasses.asdict(self.settings.drop).items():
            if share > 0 and getattr(cond, name) is not None:
                kept = self.draws.uniform(f"drop-{name}", step, places) >= share
                cond = cond.where(upload(kept, self.device), null, name)
        return cond

    def _view(self, x0: Tensor, step: int, places: Sequence[int]) -> Tensor:
        """What the network sees of x0 [B, C, *D], a mask drawn for each place in the global batch."""
        size = tuple(x0.shape[2:])
        u = [uniform((2 + 4 * len(size),), self.seed, "mask", step, k) for k in places]
        return masks.mask_channels(
            x0, upload(torch.stack([masks.random_mask(size, one) for one in u]), self.device)
        )

    def _noise(self, shape: tuple[int, ...], step: int, places: Places) -> Tensor:
        """[B, C, *D] for places in the global batch; with `train.offset_noise` s, s times a constant for each channel.

        So that a network learns to move the mean of a picture, which a schedule that never quite reaches pure noise
        gives away (Guttenberg 2023, "Diffusion with offset noise"). At alpha = 0 (flow, zero terminal SNR) nothing is
        given away, and sampling starts from noise without offsets: leave it 0 there.
        """
        noise = self.draws.normal(shape, "noise", step, places)
        strength = self.settings.offset_noise
        if not strength:
            return noise
        flat = (shape[0], *[1] * (len(shape) - 1))
        return noise + strength * self.draws.normal(flat, "offset", step, places)

    def _times(self, u: Tensor, shape: tuple[int, ...]) -> Tensor:
        """u [B] -> t [B], for media of `shape`."""
        t = self.noise_level(self.denoiser.schedule, u)
        if self.sizes is None or not self.settings.size_shift:
            return t
        return self.sizes.shifted(self.denoiser.schedule, t, shape)

    def levels(self, size: int, step: int) -> Tensor:
        """u [B] in [0, 1), stratified over the global batch: one random offset a step, one stratum a position.

        Lower variance than independent draws (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).
        """
        offset = uniform((1,), self.seed, "level", step).double()
        return (offset + torch.arange(size, dtype=torch.float64) / size) % 1
