"""Batches without hidden state: the batch of a step depends on (seed, step) and the dataset alone.

The order is a permutation keyed by (seed, epoch). The augmentation of an item is keyed by (seed, step, position in the
global batch), the size of the media by the step. An unreadable item is replaced by the next one of the permutation
and reported.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import torch

from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import MediaError, TrainingError
from multigen.training import readers
from multigen.training.batch import Batch, Order, Read, collate
from multigen.training.sizes import Sizes

_TRIES = 16  # items tried in place of an unreadable one


def batches(
    dataset: Dataset,
    order: Order,
    first_step: int,
    workers: int,
    rows: range | None = None,
    sizes: Sizes | None = None,
) -> Generator[Batch, None, None]:
    """Yield the batches from `first_step` on, without end.

    workers   processes that read ahead; 0: one thread does
    rows      positions of each batch to read; None: all of them
    sizes     sizes of the media; None: the dataset's own

    Raises TrainingError if too many items in a row are unreadable, or reader processes die again and again.
    """
    wanted = range(order.batch) if rows is None else rows
    source = _Places(dataset, order, sizes)
    if workers > 0:
        made = readers.by_processes(source, lambda step: _places(wanted, step), _collate, first_step, workers)
    else:
        made = readers.by_thread(
            _collate([source[p] for p in places]) for places in _places(wanted, first_step)
        )
    with closing(made):
        for batch in made:
            if isinstance(batch, TrainingError):
                raise batch
            yield batch


def one_batch(dataset: Dataset, order: Order, step: int, rows: range, sizes: Sizes | None = None) -> Batch:
    """Read the batch of one step at once. Raises TrainingError as `batches` does."""
    source = _Places(dataset, order, sizes)
    batch = _collate([source[step, position] for position in rows])
    if isinstance(batch, TrainingError):
        raise batch
    return batch


class _Places(torch.utils.data.Dataset[Read | TrainingError]):
    """Items by (step, position), for torch's DataLoader."""

    def __init__(self, dataset: Dataset, order: Order, sizes: Sizes | None) -> None:
        self.dataset, self.order, self.sizes = dataset, order, sizes

    def __getitem__(self, place: tuple[int, int]) -> Read | TrainingError:
        step, position = place
        bad: dict[int, str] = {}
        for skip in range(min(_TRIES, len(self.order.indices))):
            index = self.order.index(step, position, skip)
            try:
                item = self.dataset.draw(index, stream(self.order.seed, "augment", step, position))
                if self.sizes is not None:
                    item["media"] = self.sizes.fit(item["media"], step, position)
                    if "control" in item:  # the same crop
                        item["control"] = self.sizes.fit(item["control"], step, position)
                return Read(item, bad)
            except MediaError as error:
                bad[index] = str(error)
        # Returned, not raised: out of a worker process an exception comes with its traceback in its message.
        return TrainingError(
            f"{len(bad)} items in a row could not be read, the last: {list(bad.values())[-1]}"
        )


def _places(wanted: range, first_step: int) -> Iterator[list[tuple[int, int]]]:
    """Yield the (step, position) of the items of each batch."""
    for step in itertools.count(first_step):
        yield [(step, position) for position in wanted]


def _collate(reads: Sequence[Read | TrainingError]) -> Batch | TrainingError:
    failed = [read for read in reads if isinstance(read, TrainingError)]
    return failed[0] if failed else collate([read for read in reads if isinstance(read, Read)])
