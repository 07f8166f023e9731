"""Deep features on their way between guides and the network: gathered for a batch, and handed back to each call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from multigen.core.backbone import Taps
from multigen.core.deep import Deep, Features, Reuse
from multigen.core.guides import Call
from multigen.core.merge import Piece

_VARIANCE = Taps(variance=True)


def reuse_of(call: Call) -> Reuse | None:
    """What a call shares with others of its trajectory: nothing with gradients or taps into layers, which all run.

    The variance that a network has learned comes out of its last layer, which runs in shallow calls, too.
    """
    return None if call.grad or call.taps not in (None, _VARIANCE) else call.reuse


def depth_of(call: Call) -> Hashable:
    """What calls of one batch have in common: shallow ones run the same layers, and all others the whole network."""
    reuse = reuse_of(call)
    if reuse is None or reuse.made is None:
        return None
    return reuse.outer, tuple((one.shape[1:], one.dtype) for one in reuse.made)


def deep_of(batch: Sequence[Piece]) -> Deep | None:
    """What a network call of these pieces keeps or takes; None where it does neither."""
    shared = [reuse_of(piece.call) for piece in batch]
    if not any(shared):
        return None
    first = shared[0]
    if first is not None and first.made is not None:
        rows = [
            [one if piece.whole else one[piece.start : piece.stop] for one in reuse.made]
            for piece, reuse in zip(batch, shared, strict=True)
            if reuse is not None and reuse.made is not None
        ]
        made = rows[0] if len(rows) == 1 else [torch.cat(parts) for parts in zip(*rows, strict=True)]
        return Deep((first.outer,), tuple(made))
    outer = sorted({reuse.outer for reuse in shared if reuse is not None})
    return Deep(outer) if outer else None


def kept_of(batch: Sequence[Piece], deep: Deep | None) -> list[tuple[Reuse, Features]]:
    """What the inner layers made of the samples of each full call, for its `keep`.

    Nothing is handed out here: where the copies do not fit into memory, the batch can be made again.
    """
    if deep is None or deep.made is not None:
        return []
    found: list[tuple[Reuse, Features]] = []
    start = 0
    for piece in batch:
        reuse, stop = reuse_of(piece.call), start + piece.size
        if reuse is not None:
            kept = deep.kept[reuse.outer]
            # Rows of a batch would keep all of it in memory, beyond the end of the other trajectories.
            rows = kept if len(batch) == 1 else tuple(one[start:stop].clone() for one in kept)
            found.append((reuse, rows))
        start = stop
    return found
