"""How time is counted in music, for conditioners and for the datasets that know it."""

from __future__ import annotations

from typing import NamedTuple


class Beat(NamedTuple):
    """How time is counted in a piece of music.

    first  where in the piece the medium begins, in quarters
    bpm    quarters per minute; 0 where nothing is said
    metre  quarters a bar; 0 where nothing is said
    left   seconds from the medium's beginning to the end of the piece's last note; infinite where nothing is said, None
           where the piece ends with the medium
    """

    first: float
    bpm: float
    metre: int
    left: float | None
