"""Places of an engine's batcher, and the tickets that hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from multigen.generation.batching import Answered
from multigen.generation.parts import decode
from multigen.modalities.media import Media
from multigen.serving.engine.ticket import Event, Ticket

log = logging.getLogger(__name__)


def by_key(places: Mapping[int, Ticket]) -> dict[str, list[int]]:
    """The places of tickets that have not ended, by whose they are."""
    out: dict[str, list[int]] = {}
    for place, ticket in places.items():
        if not ticket.over:
            out.setdefault(ticket.key, []).append(place)
    return out


def candidates(
    waiting: Mapping[int, Ticket], under_way: Mapping[int, Ticket], most: int
) -> dict[str, list[tuple[int, int]]]:
    """Priority and place of all that may begin, by whose they are. Beyond `most` that is who has nothing under way."""
    found: dict[str, list[tuple[int, int]]] = {}
    for place, ticket in waiting.items():
        found.setdefault(ticket.key, []).append((ticket.priority, place))
    if len(under_way) < most:
        return found
    there = by_key(under_way)
    return {key: places for key, places in found.items() if key not in there}


def due(answered: Iterable[Answered], under_way: Mapping[int, Ticket]) -> list[Answered]:
    """The estimates that are due as previews.

    Each medium's are evenly spread over its steps, the first as early as there is one; none while its condition is
    purified.
    """
    found: list[Answered] = []
    for one in answered:
        ticket = under_way.get(one.place)
        if ticket is None or ticket.over or not ticket.previews or one.aside:
            continue
        plan, queries = ticket.jobs[ticket.places[one.place]].plan, one.queries - one.asides
        calls = plan.queries
        if plan.calls is not None:  # else those of the grid alone, without asides
            calls -= one.asides
        moments = {1 + k * calls // (ticket.previews + 1) for k in range(ticket.previews)}
        if queries in moments and queries < calls:
            found.append(one)
    return found


def previews(rows: Iterable[Answered]) -> list[tuple[int, Media]]:
    """Estimates as media. One that the codec does not take is left out, the medium itself may be made all the same."""
    found: list[tuple[int, Media]] = []
    for one in rows:
        try:
            found.append((one.place, decode(one.parts, one.x0[0], "", 0)))
        except Exception:
            log.exception("a preview could not be made")
    return found


def tell(ticket: Ticket, event: Event) -> None:
    """Tell a ticket that has not ended."""
    if not ticket.over:
        ticket.say(event)


def tell_lines(waiting: Mapping[int, Ticket], lines: Mapping[int, int]) -> None:
    """Tell the tickets that wait how many media begin before their first, where that has changed."""
    seen: set[Ticket] = set()
    for place, line in sorted(lines.items(), key=lambda row: row[1]):
        ticket = waiting[place]
        if ticket.state == "queued" and ticket not in seen and ticket.line != line:
            ticket.line = line
            ticket.say(Event("queued", data=line))
        seen.add(ticket)
