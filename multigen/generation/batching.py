"""Batching: media of different requests side by side, on one driver."""

from __future__ import annotations

import dataclasses
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from multigen.core.drive import Driver
from multigen.core.sampling import Progress, Sampling
from multigen.errors import MultigenError
from multigen.generation.counts import check_counts
from multigen.generation.finish import Unchecked, finish
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.generation.trajectory import trajectory
from multigen.generation.tries import Tries, seed_of
from multigen.modalities.media import Media

OnProgress = Callable[[Progress], None]
# A place, and its medium, which no filter has seen, or why there is none.
Ended = tuple[int, Unchecked | Exception]


class Answered(NamedTuple):
    """A place, how many of its queries are answered, and the latest estimate of its sample, [1, C, *D].

    parts   whose sample that is: of a cascade first that of a stage before
    asides  how many of the queries were about what conditions the medium
    aside   the estimate is of that, not of the medium
    """

    place: int
    queries: int
    x0: Tensor
    parts: ModelParts
    asides: int = 0
    aside: bool = False


class Step(NamedTuple):
    """What came of a network call: the queries that it answered, and the media that ended with it.

    What takes turns calls `Unchecked.checked` where it holds up no network.
    """

    answered: list[Answered]
    ended: list[Ended]


class Batcher(Iterator[tuple[int, Media]]):
    """(place, medium) of all that is requested, as they end. More may join with `add` and leave with `cancel`.

    `jobs`: the media by their place. `batch` of them are under way at a time; each joins as another leaves, the longest
    first, so that few are left alone in the end. All that wait for the network at once share a call where their shapes
    agree. `on_progress` sees every answered query. One that fails leaves the others alone: its error is raised when all
    of them are made.

    Who shares one model among several, as a server does, takes the turns: `begin` a place, and `step` with the places
    that share the next call.
    """

    def __init__(
        self, parts: ModelParts, jobs: Sequence[Job], batch: int, on_progress: OnProgress | None = None
    ) -> None:
        check_counts(parts, n=1, seed=0, batch=batch)
        self._parts, self._batch, self._on_progress = parts, batch, on_progress
        self._driver = Driver(max_batch=4 * batch)
        self._tries = None if parts.nearness is None else Tries(parts.nearness)
        self.jobs = dict(enumerate(jobs))
        self._places = len(jobs)  # that were ever given out
        self._waiting = list(range(len(jobs)))
        self._under_way: dict[Sampling, int] = {}
        self._ended: deque[tuple[int, Tensor | Exception]] = deque()
        self._error: Exception | None = None  # of the first that failed
        self._cancelled: set[int] = set()
        self._lock = threading.Lock()  # of the places: others may join and leave from any thread

    @property
    def calls(self) -> int | None:
        """How many queries all media take together; None where a sampler chooses its own steps."""
        each = [job.plan.calls for job in self.jobs.values()]
        known = [calls for calls in each if calls is not None]
        return sum(known) if len(known) == len(each) else None

    def add(self, request: Request | str) -> int:
        """Let another request join at the next network call with a free place; returns its place among all.

        From any thread, as `cancel`. A request without a seed gets the recipe's plus its place. MultigenError for what
        does not fit the model.
        """
        with self._lock:
            place = self._places
            (job,) = jobs(self._parts, [request], 1, self._parts.recipe.seed, first=place)
            self._join(job)
        return place

    def add_jobs(self, planned: Sequence[Job]) -> list[int]:
        """As `add`, for media that are planned already; their places."""
        with self._lock:
            return [self._join(job) for job in planned]

    def _join(self, job: Job) -> int:
        place, self._places = self._places, self._places + 1
        self.jobs[place] = job
        self._waiting.append(place)
        return place

    def cancel(self, place: int) -> None:
        """Drop the medium at `place`; one that waits takes over at the next network call.

        From anywhere: between two media, in `on_progress`, in another thread. Nothing happens if it is made already.
        MultigenError if there is no such place.
        """
        if not 0 <= place < self._places:
            there = f"there are places 0 to {self._places - 1}" if self._places else "there is no place yet"
            raise MultigenError(f"cancel: {place} is not allowed; {there}")
        self._cancelled.add(place)

    def __next__(self) -> tuple[int, Media]:
        while (ended := self._next_medium()) is not None:
            place, medium = ended
            if not isinstance(medium, Exception):
                return place, medium
            self._error = self._error or medium
        error, self._error = self._error, None
        raise StopIteration if error is None else error

    def in_order(self) -> Iterator[Media]:
        """The media by their place, each as soon as those before it are there; none may be cancelled.

        The error of one that failed is raised at its place.
        """
        early: dict[int, Media | Exception] = {}
        place = 0
        while (ended := self._next_medium()) is not None:
            early[ended[0]] = ended[1]
            while place in early:
                medium = early.pop(place)
                if isinstance(medium, Exception):
                    raise medium
                yield medium
                place += 1

    # --- taking turns ----------------------------------------------------------------------------------------------

    def begin(self, place: int) -> None:
        """Let the medium at a waiting place begin, whatever `batch` says. Nothing happens if it is cancelled."""
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
        if place not in self._cancelled:
            self._start(place)

    def step(self, places: Collection[int]) -> Step:
        """Call the network once for those of `places` that are under way.

        A medium that was cancelled meanwhile is dropped.
        """
        self._drop_cancelled()
        answered = self._call([s for s, place in self._under_way.items() if place in places])
        return Step(answered, list(self._drained()))

    def forget(self, places: Collection[int]) -> None:
        """Keep nothing of media that are made or cancelled."""
        self._drop_cancelled()
        gone = set(places)
        with self._lock:
            self._waiting = [place for place in self._waiting if place not in gone]
        for place in gone:
            self.jobs.pop(place, None)
            if self._tries is not None:
                self._tries.forget(place)
        self._cancelled -= gone

    # --- the calls -------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        """Places change hands, then the network is called once for all that wait for it."""
        self._drop_cancelled()
        for place in self._next():
            try:
                self._start(place)
            except Exception as error:
                self._ended.append((place, error))
        self._call(None)

    def _drop_cancelled(self) -> None:
        for sampling in [s for s, place in self._under_way.items() if place in self._cancelled]:
            self._driver.cancel(sampling)
            del self._under_way[sampling]

    def _start(self, place: int) -> None:
        job = self.jobs[place]
        tried = job._replace(seed=seed_of(job.seed, job.attempt))
        sampling = Sampling(*trajectory(self._parts, tried), self._parts.denoiser)
        self._under_way[self._driver.add(sampling)] = place

    def _next_medium(self) -> tuple[int, Media | Exception] | None:
        """What ends next, after the filters have seen it."""
        ended = self._next_ended()
        if ended is None:
            return None
        place, made = ended
        try:
            return place, made if isinstance(made, Exception) else made.checked()
        except Exception as error:
            return place, error

    def _next_ended(self) -> Ended | None:
        """What ends next; None where nothing is left."""
        while (ended := next(self._drained(), None)) is None and (self._waiting or self._under_way):
            self._round()
        return ended

    def _drained(self) -> Iterator[Ended]:
        """What has ended: samples as media."""
        while self._ended:
            place, sample = self._ended.popleft()
            if place in self._cancelled:
                continue
            made = sample if isinstance(sample, Exception) else self._finished(place, sample)
            if made is not None:
                yield place, made

    def _finished(self, place: int, sample: Tensor) -> Unchecked | Exception | None:
        """The medium, or why there is none; None where it is made again, under way in its place."""
        job = self.jobs[place]
        try:
            made = finish(self._parts, sample, job._replace(seed=seed_of(job.seed, job.attempt)))
            if self._tries is None:
                return made
            tried = self._tries.seen(place, job, made.medium)
            if isinstance(tried, Job):
                self.jobs[place] = tried
                self._start(place)
                return None
            return dataclasses.replace(made, medium=tried)
        except Exception as error:
            return error

    def _call(self, only: Collection[Sampling] | None) -> list[Answered]:
        answered: list[Answered] = []
        for progress in self._driver.round(only):
            if self._on_progress is not None:
                self._on_progress(progress)
            place, x0 = self._under_way[progress.sampling], progress.x0
            asides, aside = progress.sampling.asides, progress.query.aside
            answered.append(Answered(place, progress.queries, x0, self._stage(place, x0), asides, aside))
            if progress.sample is not None:
                self._ended.append((self._under_way.pop(progress.sampling), progress.sample[0]))
        for sampling, place in list(self._under_way.items()):
            if sampling.error is not None:
                del self._under_way[sampling]
                self._ended.append((place, sampling.error))
        return answered

    def _stage(self, place: int, x0: Tensor) -> ModelParts:
        """The stage whose sample an estimate is of."""
        parts, plan = self._parts, self.jobs[place].plan
        while plan.former is not None and parts.former is not None and x0.shape[1:] != plan.shape:
            parts, plan = parts.former, plan.former
        return parts

    def _next(self) -> list[int]:
        """The places that begin now, the longest first."""
        with self._lock:
            self._waiting = [place for place in self._waiting if place not in self._cancelled]
            self._waiting.sort(key=lambda place: self.jobs[place].plan.queries, reverse=True)
            free = max(0, self._batch - len(self._under_way))
            begin, self._waiting = self._waiting[:free], self._waiting[free:]
            return begin
