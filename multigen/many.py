"""Many: media of different requests side by side, on one driver."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from multigen.asking import Ask, Job
from multigen.core.drive import Driver, Progress, Request
from multigen.errors import MultigenError
from multigen.media import Media
from multigen.sampling import trajectory

if TYPE_CHECKING:
    from multigen.making import Maker


class Many(Iterator[tuple[int, Media]]):
    """(place, medium) as they end, for jobs and what is asked of each; `cancel` takes one out.

    `batch` of them are under way at a time; each joins as another leaves.
    """

    def __init__(
        self,
        model: Maker,
        jobs: Sequence[Job],
        asks: Sequence[Ask],
        batch: int,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self._model, self._jobs, self._asks = model, jobs, asks
        self._cancelled: set[int] = set()
        self._made = self._run(batch, watch)

    def __next__(self) -> tuple[int, Media]:
        return next(self._made)

    def cancel(self, place: int) -> None:
        """The medium at `place` is not made; whoever waits takes its place at the next network call.

        From wherever you are: between two media, in `watch`, in another thread. Nothing happens if it is made already.
        MultigenError if there is no such place.
        """
        if not 0 <= place < len(self._jobs):
            raise MultigenError(
                f"cancel: {place} is not allowed; there are places 0 to {len(self._jobs) - 1}"
            )
        self._cancelled.add(place)

    def _run(self, batch: int, watch: Callable[[Progress], None] | None) -> Iterator[tuple[int, Media]]:
        # The longest first, so that few are left alone in the end.
        waiting = deque(sorted(range(len(self._asks)), key=lambda k: -self._asks[k].length))
        driver = Driver(max_batch=4 * batch)
        places: dict[Request, int] = {}
        while waiting or places:
            for request in [r for r, place in places.items() if place in self._cancelled]:
                driver.cancel(request)
                del places[request]
            while waiting and len(places) < batch:
                if (place := waiting.popleft()) not in self._cancelled:
                    places[driver.add(self._request(place))] = place
            for progress in driver.round():
                if watch is not None:
                    watch(progress)
                if progress.sample is None:
                    continue
                place = places.pop(progress.request)
                if place not in self._cancelled:
                    job, ask = self._jobs[place], self._asks[place]
                    yield place, self._model.finished(progress.sample[0], job, ask)

    def _request(self, place: int) -> Request:
        return Request(*trajectory(self._model, [self._jobs[place]], self._asks[place]), self._model.denoiser)
