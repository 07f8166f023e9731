"""Caching across steps: a guide whose calls share deep features, and guidance, with earlier calls of the trajectory.

With h what the inner layers make of a query, and h', h'' of the two latest queries at which they ran (t', t''),

    order 0    h = h'                                            DeepCache: Ma et al. 2023 (arXiv:2312.00858)
    order 1    h = h' + (h' - h'') (t - t')/(t' - t'')           TaylorSeer: Liu et al. 2025 (arXiv:2503.06923), eq. 5

They run at every k-th query, or where the input of the network has changed enough since (TeaCache: Liu et al. 2024,
arXiv:2411.19108, eq. 6, without its fitted polynomial): with u_i what the network is given at query i, where

    sum |u_i - u_(i-1)|/|u_(i-1)|  >  limit                      (means of absolute values)

Guidance that is not asked for at a query takes the latest difference between each other prediction and the conditional
one:  D_u = D_c + (D_u' - D_c')  (Lyu et al. 2025, "FasterCache", arXiv:2410.19355, section 3.3, without its weights).

All state is local to the guide, so to one trajectory; `Held.clear` frees it when that ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.deep import Features, Reuse
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query, relayed

# Whether the inner layers run at a query; asked once for each.
Due: TypeAlias = Callable[[Query, Denoiser], bool]
# Of which condition and which network a call is, and the how-manieth such one of its round.
Key: TypeAlias = tuple[int, int, int]


@dataclass(frozen=True)
class Caching:
    """What a trajectory reuses.

    due       makes the rule by which one trajectory runs the inner layers; None: they run at every query
    outer     stages of the backbone that run at every query
    order     0: deep features are reused; 1: they are extrapolated in t
    guidance  guidance is asked for at every so many of the queries that have it; 1: at each
    """

    due: Callable[[], Due] | None = None
    outer: int = 1
    order: int = 0
    guidance: int = 1

    @property
    def off(self) -> bool:
        """Whether nothing is reused."""
        return self.due is None and self.guidance == 1


class Held:
    """What one trajectory holds between its steps."""

    def __init__(self) -> None:
        self.features: dict[Key, Made] = {}
        self.differences: dict[Key, Tensor] = {}
        self.conds: dict[Key, Cond] = {}  # those of both, kept so that no other condition gets the id of one

    def clear(self) -> None:
        """Free it."""
        self.features, self.differences, self.conds = {}, {}, {}

    def keep_only(self, keys: set[Key]) -> None:
        """Free what is of other calls than these: those of conditions that a guide makes anew at each query."""
        for key in [key for key in self.conds if key not in keys]:
            del self.conds[key]
            self.features.pop(key, None)
            self.differences.pop(key, None)


class Made:
    """What the inner layers made of one kind of call, at the latest queries at which they ran.

    stamp  the number of the latest such query
    """

    def __init__(self) -> None:
        self.stamp = -1
        self._latest: list[tuple[float, list[Features]]] = []

    def keeper(self, stamp: int, t: float, order: int) -> Callable[[Features], None]:
        """Return what takes the features of a full call, in pieces where the call is cut."""
        pieces: list[Features] = []

        def keep(features: Features) -> None:
            if not pieces:
                self._latest, self.stamp = [(t, pieces), *self._latest[:order]], stamp
            pieces.append(features)

        return keep

    def at(self, t: float) -> Features:
        """Return the features at t: the latest, or the line through the latest two."""
        (now, latest), *before = ((time, _joined(pieces)) for time, pieces in self._latest)
        if not before or before[0][0] == now:
            return latest
        then, earlier = before[0]
        share = (t - now) / (then - now)
        return tuple(torch.lerp(a, b, share) for a, b in zip(latest, earlier, strict=True))


def cached(guide: Guide, cond: Cond, denoiser: Denoiser, caching: Caching, held: Held) -> Guide:
    """A guide whose calls reuse what earlier ones made. Calls with taps, gradients or other networks run in full.

    cond  the condition of the guide's conditional calls

    ValueError for more outer stages than the backbone has, or none.
    """
    if caching.off:
        return guide
    if caching.due is not None and not 1 <= caching.outer <= denoiser.backbone.outermost:
        most = denoiser.backbone.outermost
        allowed = (
            f"Allowed: 1 to {most}" if most else "This network cannot run without its inner layers: cache off"
        )
        raise ValueError(f"outer: {caching.outer} is not allowed. {allowed}")
    due = None if caching.due is None else caching.due()
    state = _State(caching, due is not None, held)

    def shared(q: Query) -> Answers:
        state.asks(due is None or due(q, denoiser))
        asked: dict[Key, Call] = {}

        def sent(calls: list[Call]) -> list[Call]:
            nonlocal asked
            asked = state.sent(calls, q, cond)
            return list(asked.values())

        def answered(calls: list[Call], answers: list[Tensor]) -> list[Tensor]:
            return state.answered(calls, dict(zip(asked, answers, strict=True)))

        return (yield from relayed(guide(q), sent, answered))

    return shared


class _State:
    """Where one trajectory stands: what of the calls of a query is asked, and what is known of it already."""

    def __init__(self, caching: Caching, deep: bool, held: Held) -> None:
        self._caching, self._deep, self._held = caching, deep, held
        self._asked, self._stamp, self._guided = (
            0,
            0,
            0,
        )  # queries, the latest full one, and those with guidance
        self._seen = False  # whether guidance of this query is counted
        self._skips = False  # whether it takes the latest differences
        self._own: Key | None = None
        self._others: list[Key] = []
        self._used: set[Key] = set()  # of this query

    def asks(self, fresh: bool) -> None:
        """A query begins; `fresh`: the inner layers run."""
        self._stamp = self._asked if fresh else self._stamp
        self._asked += 1
        self._seen = False
        self._held.keep_only(self._used)
        self._used = set()

    def sent(self, calls: Sequence[Call], q: Query, cond: Cond) -> dict[Key, Call]:
        """The calls that the network answers, each with what it reuses or keeps."""
        self._own, self._others = _split(calls, q, cond)
        self._used.update(_keys(calls))
        led = self._own is not None and bool(self._others)
        known = all(key in self._held.differences for key in self._others)
        self._skips = led and known and self._guided % self._caching.guidance > 0
        self._guided += led and not self._seen
        self._seen = self._seen or led
        skipped = self._others if self._skips else []
        return {k: self._reusing(k, c) for k, c in zip(_keys(calls), calls, strict=True) if k not in skipped}

    def answered(self, calls: Sequence[Call], answers: dict[Key, Tensor]) -> list[Tensor]:
        """The answers to all calls, in their order."""
        if self._own is not None and self._caching.guidance > 1:
            conds = dict(zip(_keys(calls), (call.cond for call in calls), strict=True))
            for key in self._others:
                if self._skips:
                    answers[key] = answers[self._own] + self._held.differences[key]
                else:
                    self._held.differences[key] = answers[key] - answers[self._own]
                    self._held.conds[key] = conds[key]
        return [answers[key] for key in _keys(calls)]

    def _reusing(self, key: Key, call: Call) -> Call:
        if not self._deep or not _is_plain(call):
            return call
        t = float(call.t.flatten()[0])
        made = self._held.features.get(key)
        if made is None:
            made = self._held.features[key] = Made()
            self._held.conds[key] = call.cond
        outer = self._caching.outer
        if made.stamp == self._stamp:
            return call._replace(reuse=Reuse(outer, made.at(t), _nothing))
        return call._replace(reuse=Reuse(outer, None, made.keeper(self._stamp, t, self._caching.order)))


def every(count: int) -> Callable[[], Due]:
    """The inner layers run at every `count`-th query, the first among them."""

    def make() -> Due:
        asked = -1

        def due(q: Query, denoiser: Denoiser) -> bool:
            nonlocal asked
            asked += 1
            return asked % count == 0

        return due

    return make


def changed(limit: float) -> Callable[[], Due]:
    """The inner layers run where the network's input has changed by more than `limit` since they last ran."""

    def make() -> Due:
        before: Tensor | None = None
        far = 0.0

        def due(q: Query, denoiser: Denoiser) -> bool:
            nonlocal before, far
            alpha, sigma = denoiser.schedule(q.t.double().reshape(1))
            now = q.x * float((alpha.square() + sigma.square()).rsqrt())
            if before is not None:
                step, size = ((one.abs().flatten(1).mean(1)) for one in (now - before, before))
                far += float((step / size.clamp_min(1e-12)).max())  # a device is waited for
            fresh = before is None or far > limit
            before, far = now, 0.0 if fresh else far
            return fresh

        return due

    return make


def _split(calls: Sequence[Call], q: Query, cond: Cond) -> tuple[Key | None, list[Key]]:
    """The conditional call of a round, and those whose answers guidance compares with it."""
    plain = {k: c for k, c in zip(_keys(calls), calls, strict=True) if _is_plain(c) and c.x is q.x}
    own = next((k for k, c in plain.items() if c.cond is cond), None)
    return own, [k for k in plain if k != own]


def _is_plain(call: Call) -> bool:
    return call.denoiser is None and call.taps is None and not call.grad


def _keys(calls: Sequence[Call]) -> list[Key]:
    keys: list[Key] = []
    for call in calls:
        kind = (id(call.cond), id(call.denoiser))
        keys.append((*kind, sum(key[:2] == kind for key in keys)))
    return keys


def _nothing(features: Features) -> None:
    """A shallow call keeps nothing."""


def _joined(pieces: list[Features]) -> Features:
    """The features of a whole call; its pieces become one."""
    if len(pieces) > 1:
        pieces[:] = [tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))]
    return pieces[0]
