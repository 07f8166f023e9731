"""Many: media of different requests side by side, on one driver."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from multigen.core.drive import Driver
from multigen.core.sampling import Progress, Sampling
from multigen.errors import MultigenError
from multigen.generation.request import Asked, Wish
from multigen.generation.trajectory import trajectory
from multigen.modalities.media import Media

if TYPE_CHECKING:
    from multigen.generation.generate import Maker


class Many(Iterator[tuple[int, Media]]):
    """(place, medium) of all that is asked, as they end. More may join with `add` and leave with `cancel` at any time.

    `asked`: the prompt, seed and `Ask` of each place. `batch` of them are under way at a time; each joins as another
    leaves, the longest first, so that few are left alone in the end.
    """

    def __init__(
        self,
        model: Maker,
        asked: Sequence[Asked],
        batch: int,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        if batch < 1:
            raise MultigenError(f"batch: {batch} is not allowed; give 1 or more")
        self._model, self._batch, self._watch = model, batch, watch
        self._driver = Driver(max_batch=4 * batch)
        self.asked = list(asked)
        self._waiting = list(range(len(asked)))
        self._under_way: dict[Sampling, int] = {}
        self._made: deque[tuple[int, Tensor]] = deque()
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()  # of the places: others may join and leave from any thread

    def add(self, wish: Wish | str) -> int:
        """Let another request join at the next network call with a free place; returns its place among all.

        From wherever you are, as with `cancel`. Its seed is the recipe's + that place where it has none. MultigenError
        for what does not fit.
        """
        with self._lock:
            place = len(self.asked)
            self.asked += self._model.asked(wish, self._model.recipe.seed + place)[1]
            self._waiting.append(place)
        return place

    def cancel(self, place: int) -> None:
        """The medium at `place` is not made; whoever waits takes its place at the next network call.

        From wherever you are: between two media, in `watch`, in another thread. Nothing happens if it is made already.
        MultigenError if there is no such place.
        """
        if not 0 <= place < len(self.asked):
            there = f"there are places 0 to {len(self.asked) - 1}" if self.asked else "there is no place yet"
            raise MultigenError(f"cancel: {place} is not allowed; {there}")
        self._cancelled.add(place)

    def __next__(self) -> tuple[int, Media]:
        while True:
            while self._made:
                place, sample = self._made.popleft()
                if place not in self._cancelled:
                    return place, self._model.finished(sample, *self.asked[place])
            if not self._waiting and not self._under_way:
                raise StopIteration
            self._round()

    def _round(self) -> None:
        """Places change hands, then the network is called once for all that wait for it."""
        for request in [r for r, place in self._under_way.items() if place in self._cancelled]:
            self._driver.cancel(request)
            del self._under_way[request]
        for place in self._next():
            job, ask = self.asked[place]
            request = Sampling(*trajectory(self._model, [job], ask), self._model.denoiser)
            self._under_way[self._driver.add(request)] = place
        for progress in self._driver.round():
            if progress.sample is not None:
                self._made.append((self._under_way.pop(progress.sampling), progress.sample[0]))
            if self._watch is not None:
                self._watch(progress)

    def _next(self) -> list[int]:
        """The places that begin now, the longest first."""
        with self._lock:
            self._waiting = [place for place in self._waiting if place not in self._cancelled]
            self._waiting.sort(key=lambda k: self.asked[k][1].length, reverse=True)
            free = max(0, self._batch - len(self._under_way))
            begin, self._waiting = self._waiting[:free], self._waiting[free:]
            return begin
