"""Turns: who begins next and who shares the next network call: no user starves another."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence

_NEVER = 1 << 40  # those who never had a turn come before all others


class Turns:
    """Users take turns, by their key.

    A network call takes time in proportion to its samples, so a call is shared like time on a machine: each user has as
    many places in it as the one who needs fewest, at least one, and all of them where there is but one user. Beside a
    user with a hundred requests, another one's single request takes about twice the time that it takes alone. Where
    there are more users than places, those come first whose last call is longest ago.
    """

    def __init__(self) -> None:
        self._last: OrderedDict[str, None] = OrderedDict()  # keys, those who had a turn last at the end
        self._rings: dict[
            str, deque[int]
        ] = {}  # of those who have something under way, the last called at the end

    def next(self, waiting: Mapping[str, Sequence[tuple[int, int]]]) -> tuple[str, int] | None:
        """Key and place that begin next, of (priority, place) by key: the highest priority, then who waited longest."""
        if not any(waiting.values()):
            return None
        highest = max(priority for places in waiting.values() for priority, _ in places)
        able = [key for key, places in waiting.items() if any(p == highest for p, _ in places)]
        order = {key: number for number, key in enumerate(self._last)}
        key = min(able, key=lambda k: order.get(k, -1))
        self._last.pop(key, None)
        self._last[key] = None
        return key, next(place for priority, place in waiting[key] if priority == highest)

    def share(self, under_way: Mapping[str, Iterable[int]], most: int) -> list[int]:
        """The places that share the next call, at most `most`: by key those under way -> places."""
        there = {key: list(places) for key, places in under_way.items()}
        there = {key: places for key, places in there.items() if places}
        for key in [k for k in self._rings if k not in there]:
            del self._rings[key]
        if not there:
            return []
        order = {key: number for number, key in enumerate(self._rings)}
        keys = sorted(there, key=lambda k: order.get(k, -1))[:most]
        quota = most if len(there) == 1 else min(len(places) for places in there.values())
        quota = max(1, min(quota, most // len(keys)))
        chosen: list[int] = []
        for key in keys:
            places = there[key]
            ring = deque(p for p in self._rings.pop(key, ()) if p in set(places))
            ring.extend(p for p in places if p not in set(ring))
            chosen += list(ring)[:quota]
            ring.rotate(-quota)
            self._rings[key] = ring
        return chosen

    def lines(self, waiting: Iterable[tuple[str, int, int]]) -> dict[int, int]:
        """How many media begin before each place, of (key, priority, place) in the order in which they came."""
        order = {key: number for number, key in enumerate(self._last)}
        first: dict[str, int] = {}  # of those who never had a turn: when they came
        rounds: dict[tuple[str, int], int] = {}  # by key and priority: how many stand before
        rows: list[tuple[int, int, int, int]] = []
        for number, (key, priority, place) in enumerate(waiting):
            turn = rounds[key, priority] = rounds.get((key, priority), -1) + 1
            rows.append((-priority, turn, order.get(key, first.setdefault(key, number) - _NEVER), place))
        return {row[3]: line for line, row in enumerate(sorted(rows))}

    def keep(self, keys: Collection[str]) -> None:
        """Drop users who have nothing left, so that keys do not pile up."""
        for key in [key for key in self._last if key not in keys]:
            del self._last[key]
