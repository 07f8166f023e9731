"""LoRAs on a model: the run's own adapter and others, added to the backbone's weights with a weight each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from multigen.core.backbone import Backbone
from multigen.core.denoiser import Denoiser
from multigen.errors import MultigenError
from multigen.model.source import read_lora
from multigen.recipe.schema import WeightedLora
from multigen.storage.lora import Adapter, MergedWeights, Pair, check_weight, deltas

log = logging.getLogger(__name__)


class LoraStack:
    """The LoRAs that a backbone's weights hold. `own`: what the model's own training added to its base, if anything."""

    def __init__(self) -> None:
        self.own: Adapter | None = None
        self._mix: MergedWeights | None = None

    def reset(self) -> None:
        """Forget what was added: the weights have been replaced."""
        self._mix = None

    def read(self, loras: Sequence[WeightedLora]) -> list[tuple[Adapter, float]]:
        """The adapters and their weights, the model's own first. MultigenError names what is no LoRA."""
        rows: list[tuple[Adapter, float]] = []
        for row in loras:
            try:
                adapter = read_lora(row.path)
            except MultigenError as error:
                raise MultigenError(f"loras: {error}") from error
            rows.append((adapter, check_weight(row.weight, f"loras: {row.path}")))
        return rows if self.own is None else [(self.own, 1.0), *rows]

    def changes(
        self, rows: Sequence[tuple[Adapter, float]], backbone: Backbone, recipe: str
    ) -> list[tuple[dict[str, Pair], float]]:
        """What each adapter adds. MultigenError names the first layers of one that is for another network."""
        return [(deltas(adapter, backbone, recipe), weight) for adapter, weight in rows]

    def replace(
        self,
        rows: Sequence[tuple[Adapter, float]],
        backbone: Backbone,
        recipe: str,
        weights_hash: Callable[[], str],
    ) -> None:
        """Sample with these adapters and no others; warn of one that was trained on other weights than the base's."""
        changes = self.changes(rows, backbone, recipe)
        self.set((), backbone)
        if rows:
            warn_of_base([adapter for adapter, _ in rows], weights_hash())
        self.set(changes, backbone)

    def set(self, changes: Sequence[tuple[Mapping[str, Pair], float]], backbone: Backbone) -> None:
        """Sample with these and no others."""
        if not changes and self._mix is None:
            return
        self._mix = self._mix or MergedWeights(backbone)
        self._mix.set(())
        self._mix.set(changes)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Inside the block the backbone holds its base's weights."""
        if self._mix is None:
            yield
            return
        with self._mix.bare():
            yield


def check_free(denoiser: Denoiser | None, what: str) -> None:
    """MultigenError for a network whose weights cannot be changed."""
    if denoiser is not None and denoiser.backbone.fixed:
        raise MultigenError(f"{what}: the network's weights cannot be changed: {denoiser.backbone.fixed}")


def warn_of_base(adapters: Sequence[Adapter], weights_hash: str) -> None:
    """Warn where a LoRA was trained on other weights of the same network."""
    for adapter in adapters:
        wanted = adapter.about.get("base_hash")
        if wanted is not None and wanted != weights_hash:
            log.warning("%s was trained on other weights (%s, %s) than these (%s)", adapter.where, adapter.base,
                        wanted, weights_hash)  # fmt: skip
