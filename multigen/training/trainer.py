"""The trainer: the one place that steps an optimizer, for every modality."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.core.conditioning import Conditioner
from multigen.core.denoiser import Denoiser
from multigen.core.noise import normal, stream, uniform
from multigen.datasets import Dataset
from multigen.errors import Interrupted, MultigenError, TrainingError
from multigen.recipe import Train
from multigen.training import checkpoint as checkpoints
from multigen.training.ema import EMA
from multigen.training.heldout import HeldOut
from multigen.training.loader import Batch, Order, batches
from multigen.training.log import Log
from multigen.training.signals import signals

log = logging.getLogger(__name__)


class Trainer:
    """Trains a denoiser and what its conditioner learns.

    `folder` is the run folder; `precision` the autocast dtype of the network while training. `preview(step)` is called
    with the averaged weights in place. The state from which a run goes on exactly: weights, average, optimizer, step,
    seconds.
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
        folder: Path,
        device: torch.device,
        precision: torch.dtype | None = None,
        preview: Callable[[int], None] | None = None,
        quiet: bool = False,
    ) -> None:
        self.denoiser, self.conditioner, self.codec, self.dataset = denoiser, conditioner, codec, dataset
        self.settings, self.seed, self.folder, self.device, self.preview = (
            settings,
            seed,
            folder,
            device,
            preview,
        )
        self.learned = nn.ModuleDict(
            {"backbone": denoiser.backbone, "conditioner": cast(nn.Module, conditioner)}
        )
        self.parameters = {n: p for n, p in self.learned.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.lr,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=device.type in ("cuda", "cpu"),
        )
        self.ema = EMA(self.parameters, settings.ema)
        self.noise_level = registry.build("noise_level", settings.noise_level, where="train.noise_level")
        self.objective = registry.build("objective", settings.objective, where="train.objective")
        self.precision = precision
        self.step, self.seconds = 0, 0.0
        self.bad: dict[str, str] = {}  # file -> why it could not be read
        self.bad_items: frozenset[int] = frozenset()
        train, held_out = dataset.split()
        if not len(train):
            raise TrainingError("the dataset has no items to train on")
        self.order = Order(train, settings.batch, seed)
        self.held_out = HeldOut(dataset, held_out, codec, conditioner, denoiser, seed, device)
        self.log = Log(folder, settings, quiet=quiet)
        self.forward = torch.compile(denoiser.loss) if settings.compile else denoiser.loss

    # --- progress ---------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the training that is done, 1 when it is over."""
        shares = []
        if self.settings.steps is not None:
            shares.append(self.step / max(self.settings.steps, 1))
        if self.settings.minutes is not None:
            shares.append(self.seconds / (60 * self.settings.minutes))
        return min(max(shares, default=1.0), 1.0)

    def _lr(self) -> float:
        """Linear warm-up, then cosine to 0 along `progress`."""
        warm = min((self.step + 1) / max(self.settings.warmup, 1), 1.0)
        return self.settings.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end, saving on the way. Interrupted on SIGINT or SIGTERM, after a save."""
        sampling, self.denoiser.precision = self.denoiser.precision, self.precision
        try:
            self._run()
        finally:
            self.denoiser.precision = sampling

    def _run(self) -> None:
        self.denoiser.train()
        saved = self.step
        with signals() as caught, self.log.bar(self.step, self.seconds):
            source = batches(self.dataset, self.order, self.step, self.settings.workers)
            last = time.monotonic()
            while self.progress < 1 and not caught:
                batch = _next(source, caught)
                if batch is None:
                    break
                waited = time.monotonic() - last
                self._note_bad(batch)
                row = self._update(batch)
                now = time.monotonic()
                self.seconds += now - last
                self.log.step(self.step, row, items=len(batch.ids), seconds=now - last, waited=waited)
                if self.step % self.settings.checkpoint_every == 0:
                    self.save()
                    saved = self.step
                if not caught:
                    self._watch(ended=self.progress >= 1)
                last = time.monotonic()  # saving and previews are not training time
            if saved != self.step:
                self.save()
            if caught and self.progress < 1:
                raise Interrupted(caught[0], self.step, f"Go on with: multigen run {self.folder}")

    def _update(self, batch: Batch) -> dict[str, float]:
        """One optimizer step on a batch; TrainingError before a bad update."""
        lr = self._lr()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        for loss in self._losses(batch):
            loss.backward()
            total += loss.item()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), self.settings.clip).item()
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise TrainingError(self._diverged(total, norm, batch))
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.step)
        return {"loss": total, "lr": lr, "grad_norm": norm}

    def _losses(self, batch: Batch) -> Iterator[Tensor]:
        """The batch's mean loss, in `accumulate` parts that add up to it."""
        size = len(batch.ids)
        part = -(-size // self.settings.accumulate)
        u = self._keyed_levels(size)
        keep = torch.cat([uniform((1,), self.seed, "dropout", self.step, k) for k in range(size)])
        for start in range(0, size, part):
            rows = slice(start, min(start + part, size))
            count = rows.stop - rows.start
            with torch.no_grad():
                x0 = self.codec.encode(batch.media[rows].to(self.device))
            noise = [normal(x0.shape[1:], self.seed, "noise", self.step, k) for k in range(start, rows.stop)]
            given = {name: values[rows] for name, values in batch.given.items()}
            cond = self.conditioner(given).to(self.device)
            null = self.conditioner.null(count).to(self.device)
            cond = cond.where((keep[rows] >= self.settings.dropout).to(self.device), null)
            t = self.noise_level(self.denoiser.schedule, u[rows])
            weight = self.objective(self.denoiser, t).to(x0)
            with torch.random.fork_rng(devices=self._devices()):  # what the network itself draws: dropout
                torch.manual_seed(stream(self.seed, "network", self.step, start).initial_seed())
                losses = self.forward(x0, t, cond, torch.stack(noise).to(self.device))
            yield (losses * weight).sum() / size

    def _devices(self) -> list[int]:
        return [self.device.index or 0] if self.device.type == "cuda" else []

    def _keyed_levels(self, size: int) -> Tensor:
        """u [B] in [0, 1), stratified over the global batch: one random offset a step, one stratum a position.

        Lower variance than independent draws (Kingma et al. 2021, arXiv:2107.00630, appendix I.1).
        """
        offset = uniform((1,), self.seed, "level", self.step).double()
        return (offset + torch.arange(size, dtype=torch.float64) / size) % 1

    def _diverged(self, loss: float, norm: float, batch: Batch) -> str:
        last = checkpoints.newest(self.folder / "checkpoints")
        kept = f"The last good checkpoint is {last}." if last else "No checkpoint was made yet."
        return (
            f"step {self.step}: the loss is {loss}, the gradient norm {norm}; nothing was updated. {kept} "
            f"Try a smaller train.lr (now {self.settings.lr:g}), a longer train.warmup, or train.precision=fp32. "
            f"Items of the batch: {', '.join(batch.ids[:8])}{' ...' if len(batch.ids) > 8 else ''}"
        )

    def _note_bad(self, batch: Batch) -> None:
        """Name each unreadable file once; stop when they are too many."""
        for name, why in batch.bad.items():
            if name not in self.bad:
                self.bad[name] = why
                log.warning("skipped: %s", why)
        self.bad_items |= batch.bad_items
        if batch.bad:
            self.check_bad()

    def check_bad(self) -> None:
        """TrainingError if more items could not be read than `bad_media` allows; a file left out counts as one."""
        closed = len(self.dataset.bad)
        count, total = closed + len(self.bad_items), closed + len(self.dataset)
        allowed = self.settings.bad_media * total
        if count <= (
            max(allowed, 1) if allowed > 0 else 0
        ):  # one alone never stops a run, however few there are
            return
        if self.step:
            self.save()
        first = next(iter({**self.dataset.bad, **self.bad}.values()))
        raise TrainingError(
            f"{count} of {total} items could not be read, more than train.bad_media="
            f"{self.settings.bad_media:g} allows. Mend or remove them, or allow more. The first: {first}"
        )

    def _watch(self, ended: bool) -> None:
        """Held-out loss and previews, with the averaged weights, when they are due."""
        s = self.settings
        measure = s.held_out_every > 0 and (ended or self.step % s.held_out_every == 0)
        show = (
            self.preview is not None
            and s.preview_every > 0
            and not ended
            and self.step % s.preview_every == 0
        )
        if not (measure or show):
            return
        self.denoiser.eval()
        with self.ema.applied():
            if measure and (row := self.held_out.measure()):
                self.log.held_out(self.step, row)
            if show and self.preview is not None:
                self.preview(self.step)
        self.denoiser.train()

    # --- state ------------------------------------------------------------------------------------------------

    def save(self) -> Path:
        """Write a checkpoint of the present state."""
        codec = {f"codec.{k}": v for k, v in self.codec.state_dict().items()}
        tensors = {
            "weights": {n: p.detach() for n, p in self.parameters.items()},
            "ema": {**self.ema.shadow, **self._buffers(), **codec},
            "optimizer": checkpoints.optimizer_tensors(self.optimizer),
        }
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "progress": self.progress,
            "seed": self.seed,
            "bad": self.bad,
            "bad_items": sorted(self.bad_items),
        }
        path = checkpoints.save(
            self.folder / "checkpoints",
            self.step,
            checkpoints.Checkpoint(tensors, state),
            keep=self.settings.keep,
        )
        self.log.flush()
        return path

    def _buffers(self) -> dict[str, Tensor]:
        state = self.learned.state_dict()
        return {name: value for name, value in state.items() if name not in self.parameters}

    def restore(self, state: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint: weights, average, optimizer, codec statistics, step and seconds.

        MultigenError if it is another model's.
        """
        codec = {k[6:]: v for k, v in state.tensors["ema"].items() if k.startswith("codec.")}
        rows = checkpoints.mismatches(self.parameters, state.tensors["weights"])
        rows = rows or checkpoints.mismatches(self.codec.state_dict(), codec)
        if rows:
            raise MultigenError(
                f"{self.folder}: the checkpoint is of another model than the recipe says: {'; '.join(rows)}"
            )
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state.tensors["weights"][name])
        self.ema.load(state.tensors["ema"])
        checkpoints.load_optimizer(self.optimizer, state.tensors["optimizer"])
        self.codec.load_state_dict(codec)
        self.step, self.seconds = int(state.state["step"]), float(state.state["seconds"])
        self.bad = dict(state.state.get("bad", {}))
        self.bad_items = frozenset(state.state.get("bad_items", ()))


def _next(source: Iterator[Batch], caught: list[int]) -> Batch | None:
    """The next batch; None if a signal to all our processes ended its readers."""
    try:
        return next(source)
    except RuntimeError:
        if caught:
            return None
        raise
