"""Pieces of files, MIDI or scores; those that were read last are remembered, for trainings that read them again."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from multigen.modalities import Limits
from multigen.modalities.midi import piece_of_midi
from multigen.modalities.roll import Piece
from multigen.modalities.score_file import piece_of_score

Found = tuple[Piece, int, int]
_MOST = 64 * 1024**2  # bytes of all that is remembered
_EACH = 160  # bytes of a note, or of another event
_lock = threading.Lock()
_known: OrderedDict[tuple[bytes, bool, int, int], Found] = OrderedDict()


def piece_of_file(content: bytes, steps: int, count: int, limits: Limits, *, midi: bool) -> Found:
    """The piece of a file in `count` voices, how many notes were moved to the grid, and how many were left out.

    ValueError for what cannot be read or is over a limit. Files are known by their digest: their bytes are not kept.
    """
    key = (hashlib.sha256(content).digest(), midi, steps, count)
    with _lock:
        found = _known.get(key)
        if found is not None:
            _known.move_to_end(key)
    if found is None:
        if midi:
            found = piece_of_midi(content, steps, count, max_quarters=limits.max_seconds)
        else:
            found = piece_of_score(content, steps, count, max_bytes=limits.max_bytes)
    quarters = found[0].length / steps
    if quarters > limits.max_seconds:
        raise ValueError(f"{quarters:g} quarters; the limit is {limits.max_seconds:g}")
    with _lock:
        _known[key] = found
        while sum(map(_size, _known.values())) > _MOST:
            _known.popitem(last=False)
    return found


def _size(found: Found) -> int:
    piece = found[0]
    events = sum(map(len, piece.parts)) + len(piece.bars) + len(piece.tempi) + len(piece.keys)
    return _EACH * (events + 8)
