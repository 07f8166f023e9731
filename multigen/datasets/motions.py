"""Fourteen motions: where an object is, how large, how far turned and how opaque, at each moment of a video."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Name -> step (x to the right, y down) and ways to say it after the object's name; ids say the first.
DIRECTIONS: dict[str, tuple[tuple[int, int], tuple[str, str, str]]] = {
    "left": ((-1, 0), ("moving left", "moves to the left", "moving to the left")),
    "right": ((1, 0), ("moving right", "moves to the right", "moving to the right")),
    "up": ((0, -1), ("moving up", "moves up", "rising")),
    "down": ((0, 1), ("moving down", "moves down", "sinking")),
    "up left": ((-1, -1), ("moving up and left", "moves up and to the left", "moving diagonally up left")),
    "up right": ((1, -1), ("moving up and right", "moves up and to the right", "moving diagonally up right")),
    "down left": (
        (-1, 1),
        ("moving down and left", "moves down and to the left", "moving diagonally down left"),
    ),
    "down right": (
        (1, 1),
        ("moving down and right", "moves down and to the right", "moving diagonally down right"),
    ),
    "still": ((0, 0), ("standing still", "stays still", "not moving")),
}
_DIAGONAL = 0.85  # of the way, along each axis
HOPS = 2


@dataclass(frozen=True)
class Pose:
    """An object at one moment: its centre from the middle of its way, in ways (x to the right, y down); its size as a
    share of its full one; its angle in degrees, clockwise; its alpha, 0 to 1."""

    x: float = 0.0
    y: float = 0.0
    size: float = 1.0
    angle: float = 0.0
    alpha: float = 1.0


@dataclass(frozen=True)
class Motion:
    """A kind of motion.

    says   ways to say it after the object's name; ids say the first
    at     (moment, vigour), both in [0, 1] -> pose; vigour 0.5 is the usual one
    axes   whether it goes along x and along y
    way    how long its way is along each axis, as a share of the usual one
    best   moment at which the object is seen best
    """

    says: tuple[str, str, str]
    at: Callable[[float, float], Pose]
    axes: tuple[bool, bool] = (False, False)
    way: float = 1.0
    best: float = 0.5


def straight(step: tuple[int, int]) -> Callable[[float, float], Pose]:
    """At a steady speed along `step`, through the middle at moment 0.5."""
    return lambda moment, vigour: Pose(x=step[0] * (moment - 0.5), y=step[1] * (moment - 0.5))


def bounce(moment: float, vigour: float) -> Pose:
    """Twice up and down again, as gravity has it: parabolas that start and end on the ground."""
    hop = moment * HOPS % 1
    return Pose(y=0.35 - 2.8 * hop * (1 - hop))


def spin(moment: float, vigour: float) -> Pose:
    """Three quarters of a turn to one and a quarter, clockwise, at a steady speed; upright at first."""
    return Pose(angle=360 * (0.75 + 0.5 * vigour) * moment)


def grow(moment: float, vigour: float) -> Pose:
    """From a quarter or almost a half of what it will be; steadily."""
    first = 0.25 + 0.2 * vigour
    return Pose(size=1.15 * (first + (1 - first) * moment))


def shrink(moment: float, vigour: float) -> Pose:
    """`grow` backwards."""
    return grow(1 - moment, vigour)


def appear(moment: float, vigour: float) -> Pose:
    """Out of nothing to all of it, in 0.7 to 0.9 of the time; steadily."""
    return Pose(alpha=min(1.0, moment / (0.7 + 0.2 * vigour)))


MOTIONS: dict[str, Motion] = {
    name: Motion(says, straight(step), (step[0] != 0, step[1] != 0), _DIAGONAL if all(step) else 1.0)
    for name, (step, says) in DIRECTIONS.items()
} | {
    "bounce": Motion(("bouncing", "bounces", "bouncing up and down"), bounce, (False, True)),
    "spin": Motion(("spinning", "spins", "turning round and round"), spin, best=0.0),
    "grow": Motion(("growing", "grows", "getting bigger"), grow, best=1.0),
    "shrink": Motion(("shrinking", "shrinks", "getting smaller"), shrink, best=0.0),
    "appear": Motion(("appearing", "appears", "fading in"), appear, best=1.0),
}
_NAMED = {motion.says[0]: name for name, motion in MOTIONS.items()}
_SAID = re.compile(" (" + "|".join(sorted(_NAMED, key=len, reverse=True)) + ")(?= and |,|$)")


def parse(text: str) -> list[tuple[str, str]]:
    """What an id says: (object, motion) of each object; empty for an id that names no motion.

    "cat moving up and left and dog bouncing" -> [("cat", "up left"), ("dog", "bounce")]
    """
    found: list[tuple[str, str]] = []
    end = 0
    for match in _SAID.finditer(text):
        found.append((text[end : match.start()].removeprefix(" and "), _NAMED[match[1]]))
        end = match.end()
    return found


def moments(frames: int) -> list[float]:
    """When each frame of a video is: from 0 to 1; 0 for a single one."""
    return [k / max(1, frames - 1) for k in range(frames)]
