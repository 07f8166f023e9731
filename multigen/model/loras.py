"""LoRAs on a model: the run's own adapter and others, added to its weights with a weight each."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from multigen.core.denoiser import Denoiser
from multigen.core.hosts import Host
from multigen.errors import MultigenError
from multigen.model import weights as model_weights
from multigen.model.source import read_lora
from multigen.recipe.schema import WeightedLora
from multigen.storage.lora import Adapter, Change, MergedWeights, check_weight, deltas

log = logging.getLogger(__name__)


class LoraStack:
    """The LoRAs that a model's weights hold. `own`: what the model's own training added to its base, if anything."""

    def __init__(self) -> None:
        self.own: Adapter | None = None
        self._mix = MergedWeights()

    @property
    def nbytes(self) -> int:
        """Bytes that LoRAs take beside the weights: the base's own numbers, which they return to."""
        return self._mix.nbytes

    def reset(self) -> None:
        """Forget what was added: the backbone's weights have been replaced."""
        self._mix.forget("backbone.")

    def read(
        self, loras: Sequence[WeightedLora], denoiser: Denoiser | None = None
    ) -> list[tuple[Adapter, float]]:
        """The adapters and their weights, the model's own first. MultigenError names what is no LoRA.

        MultigenError, too, for a denoiser whose weights cannot be changed.
        """
        if denoiser is not None and denoiser.backbone.fixed and (loras or self.own is not None):
            raise MultigenError(f"loras: the network's weights cannot be changed: {denoiser.backbone.fixed}")
        rows: list[tuple[Adapter, float]] = []
        for row in loras:
            try:
                adapter = read_lora(row.path)
            except MultigenError as error:
                raise MultigenError(f"loras: {error}") from error
            rows.append((adapter, check_weight(row.weight, f"loras: {row.path}")))
        return rows if self.own is None else [(self.own, 1.0), *rows]

    def changed(self, hosts: Sequence[Host]) -> Mapping[str, nn.Module]:
        """The networks beside the backbone's own that hold LoRAs, by their names in a pipeline."""
        names = self._mix.changed
        return {
            host.outside.removesuffix("."): host.load()
            for host in hosts[1:]
            if any(name.startswith(host.inside) for name in names)
        }

    def kept(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a file. MultigenError where LoRAs change more than the backbone, which it holds alone."""
        outside = [name for name in self._mix.changed if not name.startswith("backbone.")]
        if outside:
            raise MultigenError(
                f"its LoRAs change text encoders or a second network too ({len(outside)} weights, {outside[0]} ...), "
                "which one file does not hold. Write a folder: multigen export RUN --merge --to diffusers"
            )
        return tensors

    def replace(
        self,
        rows: Sequence[tuple[Adapter, float]],
        hosts: Sequence[Host],
        recipe: str,
        weights: Callable[[], Mapping[str, Tensor]],
    ) -> None:
        """Sample with these adapters and no others; warn of one that was trained on other weights than the base's.

        MultigenError names the first layers of one that is for another network.
        """
        changes: list[tuple[Mapping[str, Change], float]] = [
            (deltas(adapter, hosts, recipe), weight) for adapter, weight in rows
        ]
        self._mix.set(())
        if rows:
            warn_of_base([adapter for adapter, _ in rows], weights())
        self._mix.set(changes)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Inside the block the model holds its base's weights."""
        with self._mix.bare():
            yield


def warn_of_base(adapters: Sequence[Adapter], weights: Mapping[str, Tensor]) -> None:
    """Warn where a LoRA was trained on other weights of the same network.

    The weights may have been held in another dtype then. Where neither side is rounded to the other's, they cannot be
    compared, and nothing is said.
    """
    known = model_weights.comparable(weights)
    hash_as = functools.cache(lambda kind: model_weights.hash_as(weights, kind))
    for adapter in adapters:
        said = adapter.about.get("base_hash")
        wanted: Mapping[str, str] = said if isinstance(said, Mapping) else {}
        kinds = [kind for kind in known if kind in wanted]
        if kinds and all(wanted[kind] != hash_as(kind) for kind in kinds):
            log.warning("%s was trained on other weights (%s, %s) than these (%s)", adapter.where, adapter.base,
                        wanted[kinds[0]], hash_as(kinds[0]))  # fmt: skip
