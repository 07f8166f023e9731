"""Files that a training could not read: each is reported once, and too many of them end the training."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from multigen.datasets import Dataset
from multigen.errors import TrainingError

log = logging.getLogger(__name__)


class Unreadable:
    """Files that could not be read, with the reason, and the items that should have come from them.

    A file that the dataset skipped when it was opened counts as one item.
    """

    def __init__(self, dataset: Dataset, share: float) -> None:
        """`share`: the share of items that may be unreadable."""
        self.dataset, self.share = dataset, share
        self.files: dict[str, str] = {}
        self.items: frozenset[int] = frozenset()

    def note(self, files: Mapping[str, str], items: Iterable[int] = ()) -> bool:
        """Record unreadable files, and warn of new ones. Returns whether any were given."""
        for name, why in files.items():
            if name not in self.files:
                self.files[name] = why
                log.warning("skipped: %s", why)
        self.items |= frozenset(items)
        return bool(files)

    @property
    def too_many(self) -> bool:
        """Whether more items are unreadable than allowed."""
        count, total = self._counts()
        allowed = self.share * total
        # However few items there are, a single bad one does not end the run.
        return count > (max(allowed, 1) if allowed > 0 else 0)

    def error(self) -> TrainingError:
        """Return the error to raise if there are too many."""
        count, total = self._counts()
        first = next(iter({**self.dataset.bad, **self.files}.values()))
        return TrainingError(
            f"{count} of {total} items could not be read, more than train.bad_media={self.share:g} allows. Repair or "
            f"remove them, or raise train.bad_media. The first: {first}"
        )

    def _counts(self) -> tuple[int, int]:
        closed = len(self.dataset.bad)
        return closed + len(self.items), closed + len(self.dataset)

    def state(self) -> dict[str, Any]:
        """Return what the JSON state of a checkpoint records."""
        return {"bad": self.files, "bad_items": sorted(self.items)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Add what a checkpoint records."""
        self.files = {**state.get("bad", {}), **self.files}
        self.items |= frozenset(state.get("bad_items", ()))
