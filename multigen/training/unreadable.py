"""What a training could not read: each file named once, and an end to it where they are too many."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from multigen.datasets import Dataset
from multigen.errors import TrainingError

log = logging.getLogger(__name__)


class Unreadable:
    """Files that could not be read, each with why, and the items that were to come from them.

    A file that the dataset left out when it was opened counts as one item.
    """

    def __init__(self, dataset: Dataset, share: float) -> None:
        """`share` of the items may be unreadable."""
        self.dataset, self.share = dataset, share
        self.files: dict[str, str] = {}
        self.items: frozenset[int] = frozenset()

    def note(self, files: Mapping[str, str], items: Iterable[int] = ()) -> bool:
        """Remember them, and name the new ones; whether there are any."""
        for name, why in files.items():
            if name not in self.files:
                self.files[name] = why
                log.warning("skipped: %s", why)
        self.items |= frozenset(items)
        return bool(files)

    @property
    def too_many(self) -> bool:
        count, total = self._counts()
        allowed = self.share * total
        return count > (
            max(allowed, 1) if allowed > 0 else 0
        )  # one alone never stops a run, however few there are

    def error(self) -> TrainingError:
        """What to say where there are too many."""
        count, total = self._counts()
        first = next(iter({**self.dataset.bad, **self.files}.values()))
        return TrainingError(
            f"{count} of {total} items could not be read, more than train.bad_media={self.share:g} allows. Mend or "
            f"remove them, or allow more. The first: {first}"
        )

    def _counts(self) -> tuple[int, int]:
        closed = len(self.dataset.bad)
        return closed + len(self.items), closed + len(self.dataset)

    def state(self) -> dict[str, Any]:
        """For a checkpoint's JSON."""
        return {"bad": self.files, "bad_items": sorted(self.items)}

    def load(self, state: Mapping[str, Any]) -> None:
        """What was met before a checkpoint, beside what was met since."""
        self.files = {**state.get("bad", {}), **self.files}
        self.items |= frozenset(state.get("bad_items", ()))
