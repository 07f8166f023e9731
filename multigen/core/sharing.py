"""Deep features on their way between guides and the network: gathered for a batch, and handed back to each call."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from multigen.core.deep import Deep, Reuse
from multigen.core.guides import Call
from multigen.core.merge import Piece


def reuse_of(call: Call) -> Reuse | None:
    """What a call shares with others of its trajectory: nothing with taps or gradients, which need every layer."""
    return None if call.grad or call.taps is not None else call.reuse


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


def hand_back(batch: Sequence[Piece], deep: Deep) -> None:
    """Give each full call what the inner layers made of its samples."""
    if deep.made is not None:
        return
    start = 0
    for piece in batch:
        reuse, stop = reuse_of(piece.call), start + piece.size
        if reuse is not None:
            kept = deep.kept[reuse.outer]
            # Rows of a batch would keep all of it in memory, beyond the end of the other trajectories.
            reuse.keep(kept if len(batch) == 1 else tuple(one[start:stop].clone() for one in kept))
        start = stop
