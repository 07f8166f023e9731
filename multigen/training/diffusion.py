"""Diffusion: the task of recipes that train a denoiser."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.cascades import Cascade
from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.conditioning import Cond
from multigen.core.denoiser import LOG_SNR_LIMIT, Denoiser
from multigen.core.noise import stream
from multigen.core.upload import upload
from multigen.datasets import Dataset
from multigen.recipe.schema import Train
from multigen.training import ranks
from multigen.training.adapting import Adaptation, led, recaptioned
from multigen.training.batch import Batch
from multigen.training.coding import CRITIC
from multigen.training.compiled import compiled
from multigen.training.critics import Critic
from multigen.training.distillation import Distillation, Lesson, taught
from multigen.training.draws import Places
from multigen.training.encoded import Encoded, caches
from multigen.training.examples import Examples
from multigen.training.heldout import ByLevel, HeldOut
from multigen.training.judging import Judging
from multigen.training.prior import PriorMedia
from multigen.training.sizes import Sizes
from multigen.training.task import MODEL, Task
from multigen.training.uncertainty import Uncertainty

UNCERTAINTY = "uncertainty"  # name of the network that learns the weights of noise levels


class Drawn(NamedTuple):
    """What is drawn for some rows of a batch: from which examples, at which step, at which places."""

    examples: Examples
    step: int
    places: Places


class Diffusion(Task):
    """Teaches a denoiser, and what its conditioner learns, to remove noise from what the codec encodes.

    precision   autocast dtype of the network in training; None: fp32
    base        hashes of the frozen weights beside which an adapter learns
    masked      the network also sees which part of a medium is known
    cascade     how it sees the stage before it; None where it is the first
    sizes       sizes of the media, for a training that draws one at each step
    adapter     what learns beside the frozen weights, if they are
    prior       media of a class that the model made, for prior preservation
    distilled   how the network learns from a teacher; None: it learns from the data
    critic      what judges a student's answers; it learns beside it

    Parameters, gradients, optimizer state and averages are fp32 whatever the precision: bf16 is what autocast computes
    in, never what is stored.
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
        base: Mapping[str, str] | None = None,
        masked: bool = False,
        cascade: Cascade | None = None,
        sizes: Sizes | None = None,
        adapter: Adaptation | None = None,
        prior: Dataset | None = None,
        distilled: Distillation | None = None,
        critic: Critic | None = None,
    ) -> None:
        self.adapter, self.distilled = adapter, distilled
        self.denoiser, self.conditioner, self.codec, self.base = denoiser, conditioner, codec, base
        self.dataset, self.settings, self.sizes = dataset, settings, sizes
        self.seed, self.device, self.precision = seed, device, precision
        self.uncertainty = Uncertainty().to(device) if settings.uncertainty else None
        self.judging = None if critic is None else Judging(critic.to(device), codec, denoiser)
        self.judged = False  # by the critic, at this step
        self.networks = self._networks()
        examples = functools.partial(
            Examples, denoiser.schedule, settings, device=device, masked=masked, cascade=cascade, sizes=sizes
        )
        self.examples = examples(seed=seed)
        self.prior: PriorMedia | None = None
        if prior is not None and settings.prior is not None:
            self.prior = PriorMedia(prior, conditioner, settings.prior, settings, seed, sizes, examples)
        self.objective = registry.build("objective", settings.objective, where="train.objective")
        self.by_level = ByLevel(device)
        measured = functools.partial(
            HeldOut, codec=codec, conditioner=conditioner, denoiser=denoiser, seed=seed, device=device, masked=masked,
            cascade=cascade, adapter=adapter, distilled=distilled,
        )  # fmt: skip
        self.seen, self.held_out = (measured(dataset, items) for items in dataset.split())
        self._cached: Encoded | None = None
        # Compiled without the coefficients, which are float64 and on the CPU.
        self.loss_at = compiled(denoiser.loss_at) if settings.compile else denoiser.loss_at

    def _networks(self) -> Mapping[str, nn.Module]:
        """What learns: the model, and what helps it to learn."""
        learned = {"backbone": self.denoiser.backbone, "conditioner": self.conditioner, "codec": self.codec}
        networks: dict[str, nn.Module] = {MODEL: nn.ModuleDict(learned)}
        if self.uncertainty is not None:
            networks[UNCERTAINTY] = self.uncertainty
        if self.judging is not None:
            networks[CRITIC] = self.judging.critic
        return networks

    @contextmanager
    def training(self) -> Iterator[None]:
        """Use the training precision, and the caches that `train.cache` makes room for."""
        sampling, self.denoiser.precision = self.denoiser.precision, self.precision
        try:
            with caches(
                self.settings.cache, self.codec, self.conditioner, self.dataset,
                seed=self.seed, sizes=self.sizes, device=self.device,
            ) as self._cached:  # fmt: skip
                yield
        finally:
            self._cached, self.denoiser.precision = None, sampling

    def encode(self, media: Tensor) -> Tensor:
        """Encode media [B, C, *D] to x0 on the device, through the cache if there is one."""
        return self.codec.encode(upload(media, self.device)) if self._cached is None else self._cached(media)

    def mode(self, training: bool) -> None:
        """Switch layers such as dropout between training and evaluation."""
        self.denoiser.train(training)

    def measure(self, step: int = 0) -> dict[str, float]:
        """Return the mean held-out loss in F space at each of the noise levels `heldout.LEVELS`.

        "mean" is that of all levels, "seen" that of as many items that are trained on.
        """
        row = self.held_out.measure(step)
        seen = self.seen.measure(step) if row else {}
        return {**row, **({"seen": seen["mean"]} if seen else {})}

    def details(self) -> dict[str, float]:
        """Return the mean training loss in F space near each of the noise levels `heldout.LEVELS`."""
        return self.by_level.drain()

    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        """Yield the model's loss in `train.accumulate` parts, then the critic's, and that of the learned weights."""
        seen: list[tuple[Tensor, Tensor]] = []
        self.judged = self.judging is not None and self.judging.joined(progress)
        yield MODEL, self._parts(batch, step, seen)
        if self.judging is not None and self.judged:
            yield CRITIC, iter([self.judging.critic_loss() / ranks.world()])
        if self.uncertainty is not None:
            log_snr, weighted = (torch.cat(column) for column in zip(*seen, strict=True))
            whole = len(batch.ids) * ranks.world()
            yield UNCERTAINTY, iter([self.uncertainty.loss(weighted, log_snr).sum() / whole])

    def _parts(self, batch: Batch, step: int, seen: list[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
        """Yield this rank's share of the global batch's mean loss, in `accumulate` parts that add up to it.

        seen   receives the log-SNRs and the weighted losses of each part, without their graph

        Media of a class add as many parts. What the network itself draws (dropout) is keyed by the part, so it differs
        with the number of parts and ranks.
        """
        whole = len(batch.ids) * ranks.world()
        for log_snr, raw, losses in self._rows(batch, self.examples, step):
            self.by_level.add(log_snr, raw.detach())
            seen.append((log_snr, losses.detach()))
            total = self._balanced(losses, log_snr).sum()
            if self.judging is not None and self.judged:
                total = total + self.judging.teaching() * len(losses)
            yield total / whole
        if self.prior is None:
            return
        for log_snr, _, losses in self._rows(self.prior.batch(step), self.prior.examples, step):
            yield self.prior.weight * self._balanced(losses, log_snr).sum() / whole

    def _rows(self, batch: Batch, examples: Examples, step: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Log-SNRs [B], losses [B] in F space and weighted losses [B] of the rows of a batch, in `accumulate` parts."""
        size = len(batch.ids)
        whole = size * ranks.world()
        places = ranks.rows(whole)  # of our rows in the global batch
        part = -(-size // self.settings.accumulate)
        u = examples.levels(whole, step)[places.start : places.stop]
        keep = examples.conditioned(step, Places(whole, places))
        for start in range(0, size, part):
            rows = slice(start, min(start + part, size))
            with torch.no_grad():
                x0 = self.encode(batch.media[rows])
            here = Places(whole, places[rows])
            given = {name: values[rows] for name, values in batch.given.items()}
            cond = self._condition(given, keep[rows], batch.media[rows], x0, Drawn(examples, step, here))
            t = examples.times(u[rows], tuple(batch.media.shape[1:]))
            t = t if self.distilled is None else self.distilled.times(t)
            weight = upload(self.objective(self.denoiser, t), self.device, x0.dtype)
            losses = self._losses(x0, t, cond, Drawn(examples, step, here))
            snr = self.denoiser.schedule.log_snr(t.double())
            log_snr = upload(
                snr.clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT), self.device
            )  # a grid may begin at pure noise
            yield log_snr, losses, losses * weight

    def _condition(
        self,
        given: dict[str, list[object]],
        keep: Tensor,
        media: Tensor,
        x0: Tensor,
        drawn: Drawn,
    ) -> Cond:
        """The condition of each row of x0, with condition dropout, and what a network with channels for it is shown."""
        examples, step, places = drawn
        adapter = self.adapter if examples is self.examples else None  # a class has its own prompt
        heard = recaptioned(given, adapter)
        cond = self.conditioner.beside(heard, tuple(media.shape[1:]), x0.shape[2:]).to(self.device)
        null = self.conditioner.null(len(x0)).to(self.device).without_grid(cond)
        cond = cond.where(upload(keep, self.device), null)
        cond = examples.without_parts(cond, null, step, places)
        cond = led(cond, given, adapter, self.device)
        if (cascade := examples.cascade) is not None:
            with torch.no_grad():
                there = upload(media, self.device)
                cond = cond.join_grid(examples.cascade_channels(cascade, there, step, places))
        if examples.masked:
            cond = cond.join_grid(examples.mask_channels(self.codec, media, x0, step, places.rows))
        return cond

    def _balanced(self, losses: Tensor, log_snr: Tensor) -> Tensor:
        """Losses [B] divided by what is typical of their noise levels, if the training learns that."""
        if self.uncertainty is None:
            return losses
        return losses / self.uncertainty(log_snr).detach().exp()

    def _losses(self, x0: Tensor, t: Tensor, cond: Cond, drawn: Drawn) -> Tensor:
        """Loss [B] in F space of each row of x0 [B, C, *D] at t [B]."""
        examples, step, places = drawn
        devices = [self.device.index or 0] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # what the network itself draws: dropout
            torch.manual_seed(stream(examples.seed, "network", step, places.rows.start).initial_seed())
            noise = examples.noise(tuple(x0.shape[1:]), step, places)
            if self.distilled is not None:
                u = examples.draws.uniform("distillation", step, places)
                null = self.conditioner.null(len(x0)).to(self.device).without_grid(cond)
                rows = Lesson(x0, t, cond, null, u, step)
                x0, noise = taught(self.distilled, self.denoiser.schedule, rows, noise)
                cond = self.distilled.told(cond, upload(u, self.device))
            if self.judging is not None and self.judged:
                return self.judging.losses(x0, t, cond, noise)
            scales = upload(self.denoiser.loss_scales(t, self.settings.huber), self.device, x0.dtype)
            return self.loss_at(x0, cond, noise, scales, self.settings.huber)
