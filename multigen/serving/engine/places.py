"""Places of an engine's batcher, and the tickets that hold them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from multigen.generation.batching import Answered
from multigen.generation.parts import decode
from multigen.modalities.media import Media
from multigen.safety.guard import Guard
from multigen.serving.engine.ticket import Event, Ticket

log = logging.getLogger(__name__)


def by_key(places: Mapping[int, Ticket]) -> dict[str, list[int]]:
    """The places of tickets that have not ended, by whose they are."""
    out: dict[str, list[int]] = {}
    for place, ticket in places.items():
        if not ticket.over:
            out.setdefault(ticket.key, []).append(place)
    return out


def due(answered: Iterable[Answered], under_way: Mapping[int, Ticket]) -> list[Answered]:
    """The estimates that are due as previews.

    Each medium's are evenly spread over its steps, the first as early as there is one.
    """
    found: list[Answered] = []
    for one in answered:
        ticket = under_way.get(one.place)
        if ticket is None or ticket.over or not ticket.previews:
            continue
        calls = ticket.steps_of(ticket.places[one.place])
        moments = {1 + k * calls // (ticket.previews + 1) for k in range(ticket.previews)}
        if one.queries in moments and one.queries < calls:
            found.append(one)
    return found


def previews(rows: Iterable[Answered], guard: Guard) -> list[tuple[int, Media]]:
    """Estimates as media.

    One that the codec does not take is left out, the medium itself may be made all the same; and one that the filters
    would not show.
    """
    found: list[tuple[int, Media]] = []
    for one in rows:
        try:
            medium = decode(one.parts, one.x0[0], "", 0)
            found += [(one.place, medium)] if guard.passes(medium) else []
        except Exception:
            log.exception("a preview could not be made")
    return found


def tell_lines(waiting: Mapping[int, Ticket], lines: Mapping[int, int]) -> None:
    """Tell the tickets that wait how many media begin before their first, where that has changed."""
    seen: set[Ticket] = set()
    for place, line in sorted(lines.items(), key=lambda row: row[1]):
        ticket = waiting[place]
        if ticket.state == "queued" and ticket not in seen and ticket.line != line:
            ticket.line = line
            ticket.say(Event("queued", data=line))
        seen.add(ticket)
