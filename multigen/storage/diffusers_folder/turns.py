"""The networks of a pipeline take turns in memory: when one is called, the one before it leaves."""

from __future__ import annotations

import threading
from typing import Protocol


class Resident(Protocol):
    """A network that can leave the memory of the device, and comes back when it is called."""

    def leave(self) -> None:
        """Free what it holds on the device."""
        ...


class Turns:
    """One network of a model on the device at a time."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._holder: Resident | None = None

    def take(self, one: Resident) -> None:
        """Let a network have the memory: the one that had it leaves."""
        with self._lock:
            if self._holder is not None and self._holder is not one:
                self._holder.leave()
            self._holder = one
