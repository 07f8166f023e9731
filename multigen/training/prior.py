"""Prior preservation: the media that a model made of a class before its training are trained on beside the new ones.

    L = E ||F(x_t, c) - target||^2 + w E ||F(x'_t', c') - target'||^2

with x' made by the model itself from the class's prompt c' (Ruiz et al. 2023, arXiv:2208.12242, eq. 2): it learns a new
subject of the class, and still knows the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multigen.conditioners import Conditioner
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.recipe.schema import Prior, Train
from multigen.training import ranks
from multigen.training.batch import Batch, Order
from multigen.training.examples import Examples
from multigen.training.loader import one_batch
from multigen.training.sizes import Sizes


class PriorMedia:
    """Batches of a class's media, keyed by (seed, step, position in the global batch) as others are.

    dataset  the media
    seed     of the training; what is drawn for them has one of its own
    examples makes theirs of a seed

    MultigenError for a prompt that the conditioner cannot take.
    """

    def __init__(
        self,
        dataset: Dataset,
        conditioner: Conditioner,
        prior: Prior,
        settings: Train,
        seed: int,
        sizes: Sizes | None,
        examples: Callable[..., Examples],
    ) -> None:
        self.dataset, self.weight, self.sizes = dataset, prior.weight, sizes
        self.seed = stream(seed, "prior").initial_seed() % 2**62
        self.examples = examples(seed=self.seed)
        self.order = Order(dataset.split()[0], settings.batch_size, self.seed)
        self.given: Mapping[str, Sequence[Any]] = conditioner.from_prompts(
            [prior.prompt] * settings.batch_size
        )

    def batch(self, step: int) -> Batch:
        """Return the rows of this rank of the step's batch."""
        rows = ranks.rows(self.order.batch)
        found = one_batch(self.dataset, self.order, step, rows, self.sizes)
        given = {name: list(values[: len(rows)]) for name, values in self.given.items()}
        return dataclasses.replace(found, given=given)
