"""The state of a training, as its checkpoints hold it. Training resumes from it exactly, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.conditioners import added
from multigen.errors import MultigenError
from multigen.recipe.schema import Train
from multigen.storage.tensors import mismatches
from multigen.training.checkpoint import Checkpoint
from multigen.training.counters import Counters
from multigen.training.ema import EMA
from multigen.training.learner import Learner
from multigen.training.post_hoc import Averages
from multigen.training.sharding import Layout
from multigen.training.task import MODEL, Task
from multigen.training.unreadable import Unreadable


class State:
    """Networks with their optimizers, averages of the weights, counters, and unreadable files.

    origin   recorded in every checkpoint beside the state: name of the recipe, versions
    """

    def __init__(
        self,
        task: Task,
        learners: Mapping[str, Learner],
        counters: Counters,
        unreadable: Unreadable,
        *,
        settings: Train,
        seed: int,
        folder: Path,
        origin: Mapping[str, Any],
    ) -> None:
        self.task, self.learners, self.counters, self.unreadable = task, learners, counters, unreadable
        self.parameters = learners[MODEL].parameters
        self.layout = Layout(learners[MODEL].whole)
        self.ema = EMA(self.parameters, settings.ema_decay, shared_memory=self.layout.cut_at_all)
        self.averages = Averages(self.parameters, settings.post_hoc, folder, self.layout)
        self.seed, self.folder, self.origin = seed, folder, dict(origin)

    def checkpoint(self) -> Checkpoint:
        """Return the present state. Its tensors are the live ones, not copies.

        Where the ranks hold a part each, all of them call this, and the first alone gets the tensors.
        """
        tensors = {"ema": {**self.ema.shadow, **self._buffers()}, **self.averages.state()}
        for learner in self.learners.values():
            tensors |= learner.state()
        state = {
            **self.counters.state(),
            "seed": self.seed,
            "base": self.task.base,
            **self.unreadable.state(),
        }
        return Checkpoint(self.layout.whole(tensors), {**state, **self.origin})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Set weights, averages, optimizers, codec statistics and counters from a checkpoint.

        Raises MultigenError if the checkpoint is of another model, or its adapter was trained on other weights.
        """
        tensors, state = checkpoint.tensors, checkpoint.state
        buffers = {k: v for k, v in tensors["ema"].items() if k not in self.parameters}
        buffers = {**self._added(), **buffers}
        self._check(checkpoint, buffers)
        tensors = self.layout.cut(tensors)
        for learner in self.learners.values():
            learner.load(tensors)
        self.ema.load(tensors["ema"])
        with torch.no_grad():
            for name, buffer in self._buffers().items():
                buffer.copy_(buffers[name])
        self.averages.load(tensors, int(state["step"]))
        self.counters.load(state)
        self.unreadable.load(state)

    def _check(self, checkpoint: Checkpoint, buffers: Mapping[str, Tensor]) -> None:
        state = checkpoint.state
        if (base := state.get("base")) != self.task.base:
            raise MultigenError(
                f"{self.folder}: the adapter was trained on other weights ({base}) than train.init or the backbone's "
                f"folder provides now ({self.task.base}). Resume with the former ones."
            )
        rows = self.learners[MODEL].mismatches(checkpoint.tensors) or mismatches(self._buffers(), buffers)
        for learner in self.learners.values():
            rows = rows or learner.mismatches(checkpoint.tensors)
        if rows:
            made = f" It was made by recipe {state['recipe']}." if "recipe" in state else ""
            raise MultigenError(
                f"{self.folder}: the checkpoint is of another model than the recipe: {'; '.join(rows)}.{made}"
            )

    def _added(self) -> dict[str, Tensor]:
        """What checkpoints of earlier versions lack beside the parameters, as it is."""
        own = self._buffers()
        found = added(dict(self.task.networks[MODEL].named_children()))
        return {name: value for name, value in found.items() if name in own}

    def _buffers(self) -> dict[str, Tensor]:
        """What the model holds beside its parameters, such as the codec's statistics. None beside an adapter."""
        if self.task.base is not None:
            return {}
        state = self.task.networks[MODEL].state_dict()
        return {name: value for name, value in state.items() if name not in self.parameters}
