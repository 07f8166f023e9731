"""Frames of objects on their ways, one picture a moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from multigen.datasets import sprites
from multigen.datasets.motions import Motion, Pose


class Lane(NamedTuple):
    """Where an object moves: the middle in shares of the width and height; its side, way and slack in shares of the
    shorter side."""

    x: float
    y: float
    side: float
    way: float


ALONE = Lane(0.5, 0.5, 0.56, 0.5)
LEFT, RIGHT = Lane(0.25, 0.5, 0.36, 0.24), Lane(0.75, 0.5, 0.36, 0.24)


@dataclass(frozen=True)
class Mover:
    """A sprite, its motion and its lane; `u`: size, way (and vigour), place (x, y), in [0, 1); 0.5 is the middle."""

    sprite: PillowImage.Image
    motion: Motion
    u: Sequence[float]
    lane: Lane = ALONE


def compose(movers: Sequence[Mover], moments: Sequence[float], height: int, width: int) -> np.ndarray:
    """Premultiplied uint8 [T, H, W, 4]: a picture for each moment, the first object upon the others.

    If nothing moves, T is 1.
    """
    if all(not any(m.motion.axes) and _constant(m, moments) for m in movers):
        moments = moments[:1]
    first, *rest = (_frames(m, moments, height, width) for m in movers)
    for other in rest:
        first = sprites.over(first, other)
    return first


def _constant(mover: Mover, moments: Sequence[float]) -> bool:
    poses = {mover.motion.at(t, mover.u[1]) for t in moments}
    return len(poses) == 1


def _frames(mover: Mover, moments: Sequence[float], height: int, width: int) -> np.ndarray:
    """Premultiplied uint8 [T, H, W, 4] of one object."""
    unit, lane, motion, u = min(height, width), mover.lane, mover.motion, mover.u
    side = (lane.side + 0.08 * (u[0] - 0.5)) * unit
    way = (lane.way + 0.12 * (u[1] - 0.5)) * unit * motion.way
    # Within which the middle of the way may lie.
    room = 0.6 * (unit - side) if lane == ALONE else 0.16 * unit
    x = width * lane.x + room * (u[2] - 0.5) * (0.25 if motion.axes[0] or lane != ALONE else 1)
    y = height * lane.y + room * (u[3] - 0.5) * (0.25 if motion.axes[1] else 1)
    poses = [motion.at(t, u[1]) for t in moments]
    turns = any(p.angle for p in poses)
    # What turns is filtered once, to little more than its size, and not again with each frame.
    sprite = sprites.shrink(mover.sprite, side * (0.625 if turns else max(1.0, *(p.size for p in poses))))

    def at(pose: Pose) -> np.ndarray:
        if pose.alpha <= 0:
            return np.zeros((height, width, 4), np.uint8)
        place = partial(sprites.place_turned, angle=pose.angle) if turns else sprites.place
        placed = place(sprite, x + way * pose.x, y + way * pose.y, side * pose.size, height, width)
        return placed if pose.alpha >= 1 else (placed * pose.alpha + 0.5).astype(np.uint8)

    return np.stack([at(pose) for pose in poses])
