"""Poses over time: what each motion does, and that ids say it."""

from __future__ import annotations

import itertools

import pytest

from multigen.datasets.motions import DIRECTIONS, MOTIONS, Pose, bounce, moments, parse

TIMES = [k / 60 for k in range(61)]


def test_there_are_fourteen_and_today_s_nine_come_first() -> None:
    assert list(MOTIONS)[:9] == list(DIRECTIONS)
    assert list(MOTIONS)[9:] == ["bounce", "spin", "grow", "shrink", "appear"]
    says = [way for motion in MOTIONS.values() for way in motion.says]
    assert len(says) == len(set(says)) == 3 * 14


@pytest.mark.parametrize("name", list(DIRECTIONS))
def test_directions_cross_the_middle_at_a_steady_speed(name: str) -> None:
    step = DIRECTIONS[name][0]
    poses = [MOTIONS[name].at(t, 0.3) for t in (0.0, 0.5, 1.0)]
    assert [(p.x, p.y) for p in poses] == [(s * step[0], s * step[1]) for s in (-0.5, 0, 0.5)]
    assert {(p.size, p.angle, p.alpha) for p in poses} == {(1, 0, 1)}


def test_a_bounce_is_two_parabolas_from_the_ground() -> None:
    heights = [bounce(t, 0.5).y for t in TIMES]
    assert heights[0] == heights[30] == heights[60] == max(heights) == 0.35
    assert heights[15] == heights[45] == pytest.approx(-0.35) == min(heights)
    fall = [b - a for a, b in itertools.pairwise(heights[:31])]
    gained = [b - a for a, b in itertools.pairwise(fall)]
    assert gained == pytest.approx([gained[0]] * len(gained))  # gravity
    assert gained[0] > 0  # y grows downwards


def test_the_others_change_one_thing_only() -> None:
    for name, field in (("spin", "angle"), ("grow", "size"), ("shrink", "size"), ("appear", "alpha")):
        for vigour in (0.0, 0.5, 0.99):
            poses = [MOTIONS[name].at(t, vigour) for t in TIMES]
            values = [getattr(p, field) for p in poses]
            steps = [b - a for a, b in itertools.pairwise(values)]
            assert all(s <= 0 for s in steps) if name == "shrink" else all(s >= 0 for s in steps)
            usual = Pose()
            rest = {k for p in poses for k in ("x", "y", "size", "angle", "alpha")
                    if k != field and getattr(p, k) != getattr(usual, k)}  # fmt: skip
            assert rest == set()
    assert MOTIONS["spin"].at(1, 0.5).angle == 360
    assert (MOTIONS["appear"].at(0, 0.5).alpha, MOTIONS["appear"].at(0.8, 0.5).alpha) == (0, 1)
    assert MOTIONS["grow"].at(1, 0.2) == MOTIONS["shrink"].at(0, 0.2) == Pose(size=1.15)
    assert MOTIONS["grow"].at(0, 0.0).size == pytest.approx(1.15 / 4)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("red apple moving left", [("red apple", "left")]),
        ("red apple moving up, 3D", [("red apple", "up")]),
        ("red apple moving up and left, 3D", [("red apple", "up left")]),
        ("cat moving up and left and dog bouncing", [("cat", "up left"), ("dog", "bounce")]),
        ("cat moving up and dog standing still, flat", [("cat", "up"), ("dog", "still")]),
        ("growing heart spinning", [("growing heart", "spin")]),
        ("man and woman holding hands growing", [("man and woman holding hands", "grow")]),
        ("family of man, boy appearing, 3D", [("family of man, boy", "appear")]),
        ("red apple", []),
        ("", []),
    ],
)
def test_ids_are_read(text: str, found: list[tuple[str, str]]) -> None:
    assert parse(text) == found


def test_moments() -> None:
    assert moments(5) == [0, 0.25, 0.5, 0.75, 1]
    assert moments(1) == [0]
