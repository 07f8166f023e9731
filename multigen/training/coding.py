"""Coding: what the trainings of codecs share. A codec learns to copy media, with or without a critic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import MediaError, RecipeError, message
from multigen.modalities import Modality
from multigen.recipe.schema import Train
from multigen.registry import Part
from multigen.training import ranks
from multigen.training.batch import Batch
from multigen.training.critics import Critic
from multigen.training.task import MODEL, Task

CRITIC = "critic"
_HELD_OUT = 8  # held-out items that are measured


class Copies(NamedTuple):
    """Media and their copies, as the critic sees them, and the loss of the copies without the critic.

    real, made  [B, C, *D]
    loss        mean over the rows, 0-d
    """

    real: Tensor
    made: Tensor
    loss: Tensor


class Coding(Task):
    """Teaches a codec to copy media: its own losses, and adversarial ones from `train.critic`, if there is one.

    Each loss is a mean over the rows of a rank, averaged over ranks. That equals the mean over the global batch, except
    for what is relative to the rows at hand, such as feature matching.
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
    ) -> None:
        if settings.accumulate != 1:
            raise RecipeError(
                f"train.accumulate: {settings.accumulate} is not allowed for a codec. Allowed: 1."
            )
        self.learned, self.dataset = codec, dataset
        self.seed, self.device = seed, device
        networks: dict[str, nn.Module] = {MODEL: nn.ModuleDict({"codec": codec})}
        self.critic: Critic | None = None
        if settings.critic is not None:
            critic = build_critic(settings.critic, modality, seed)
            self.critic = networks[CRITIC] = critic.to(device)
        self.networks = networks
        self.seen, self.held_out = (
            list(items)[:: max(len(items) // _HELD_OUT, 1)][:_HELD_OUT] for items in dataset.split()
        )

    @abstractmethod
    def copies(self, media: Tensor, step: int) -> Copies:
        """Copy this rank's media [B, C, *D] of a step, on the CPU. Random numbers are keyed by the step."""

    @abstractmethod
    def errors(self, media: Tensor) -> dict[str, float]:
        """Measure the copy of a medium [1, C, *D], on the CPU: "mean", which falls as copies improve, and others."""

    def training(self) -> AbstractContextManager[None]:
        """Do nothing: a codec sets its precision itself."""
        return nullcontext()

    def mode(self, training: bool) -> None:
        """Switch the codec between training and evaluation."""
        self.learned.train(training)

    def losses(self, batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
        """Yield the loss of the critic, once it has joined, then that of the model."""
        real, made, loss = self.copies(batch.media, step)
        critic = self.critic if self.critic is not None and progress >= self.critic.start else None
        if critic is not None:
            yield CRITIC, iter([critic.loss(real, made.detach()) / ranks.world()])
            loss = loss + critic.teach(real, made)
        yield MODEL, iter([loss / ranks.world()])

    def details(self) -> dict[str, float]:
        """Return nothing: the loss is not logged by component."""
        return {}

    def measure(self, step: int = 0) -> dict[str, float]:
        """Return the mean errors of held-out copies, and "seen": "mean" of as many items that are trained on."""
        row = self._measure(self.held_out)
        seen = self._measure(self.seen) if row else {}
        return {**row, **({"seen": seen["mean"]} if seen else {})}

    @torch.no_grad()
    def _measure(self, indices: Sequence[int]) -> dict[str, float]:
        rows = []
        for index in indices:
            try:
                rows.append(self.errors(self.dataset[index]["media"][None]))
            except MediaError:  # the loader reports unreadable files
                continue
        return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else {})}


def build_critic(part: Part, modality: Modality, seed: int = 0) -> Critic:
    """Build a critic, its weights keyed by the seed. RecipeError for one that does not judge the modality's media."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "critic").initial_seed())
        critic: Critic = registry.build("critic", part, where="train.critic", given={"modality": modality})
    axes = len(modality.shape()) - 1
    if axes not in critic.axes:
        known = {name: registry.lookup("critic", name) for name in registry.names("critic")}
        fitting = [name for name, kind in known.items() if axes in kind.axes]
        hint = f"It does not judge {modality.name}."
        raise RecipeError(message("train.critic.name", part.name, [*fitting, "null"], hint))
    return critic
