"""How much a key may ask for: a bucket that fills at a steady rate and is emptied by requests."""

from __future__ import annotations

import time
from collections.abc import Callable

from multigen.errors import MultigenError


class Spent(MultigenError):
    """A budget is used up: try again after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Bucket:
    """At most `per_minute` at once, and as many a minute after that. None: no bound."""

    def __init__(
        self, per_minute: float | None, what: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.per_minute, self.what, self._clock = per_minute, what, clock
        self._left, self._at = per_minute or 0.0, clock()

    def take(self, amount: float) -> None:
        """Use some of it. Spent where it is not there, MultigenError where it never will be."""
        if self.per_minute is None:
            return
        now = self._clock()
        self._left = min(self.per_minute, self._left + (now - self._at) * self.per_minute / 60)
        self._at = now
        if amount > self.per_minute:
            said = f"this request takes {amount:,.4g} {self.what}, and this key has {self.per_minute:,.4g} a minute"
            raise MultigenError(f"{said}: ask for less")
        if amount > self._left:
            seconds = (amount - self._left) * 60 / self.per_minute
            said = f"this key has {self.per_minute:,.4g} {self.what} a minute, and they are used up"
            raise Spent(f"{said}: try again in {seconds:.0f} s", seconds)
        self._left -= amount

    def give_back(self, amount: float) -> None:
        """Undo a `take`: nothing came of it."""
        if self.per_minute is not None:
            self._left = min(self.per_minute, self._left + amount)


class Budget:
    """What one key may use in a minute: requests, and units of media (see `serving.api.units`)."""

    def __init__(
        self,
        requests: float | None = None,
        units: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests = Bucket(requests, "requests", clock=clock)
        self.units = Bucket(units, "units", clock=clock)
