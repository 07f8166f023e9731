"""Edits: trajectories that do not begin in pure noise, and guides over something larger than the network saw.

All of it wraps samplers and guides; none calls a network. Restoring goes with `modifiers.fill`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from functools import partial

import torch
from torch import Tensor

from multigen.core.guides import Answers, Call, Guide, Query
from multigen.core.samplers import NoiseSource, Trajectory, heun, renoise
from multigen.core.schedules import Schedule
from multigen.core.upload import upload

Crop = Callable[[Tensor], Tensor]
Sampler = Callable[[Schedule, Tensor, Tensor, NoiseSource], Trajectory]


def start(schedule: Schedule, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """x_t = alpha x0 + sigma eps at t (0-d): where an edit begins. x0 and noise [B, C, *D]."""
    alpha, sigma = (float(level) for level in schedule(t.double().reshape(1)))
    return torch.add(x0 * alpha, noise, alpha=sigma)


def tail(ts: Tensor, strength: float) -> Tensor:
    """The last `strength` (0, 1] of a grid's steps, one at least: [n+1] -> [m+1]. ValueError for other strengths."""
    if not 0 < strength <= 1:
        raise ValueError(
            f"strength: {strength} is not allowed. Allowed: over 0 (nothing changes) to 1 (all new)."
        )
    steps = max(round(strength * (len(ts) - 1)), 1)
    return ts[-steps - 1 :]


def invert(schedule: Schedule, x: Tensor, ts: Tensor) -> Trajectory:
    """Up in noise without drawing any: x at ts[0] -> x at ts[-1] along the probability-flow ODE; ts rise.

    The inversion of Song et al. 2021 (arXiv:2010.02502), section 4.3, by Heun's method, with which the way back finds
    the source again in a third of Euler's error. ts[0] must be above 0: data hold no noise to enlarge.
    """
    return heun(schedule, x, ts, _no_noise)


def _no_noise(purpose: str, index: int) -> Tensor:
    raise AssertionError("an inversion draws no noise")


def resampled(
    sampler: Sampler, schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource, *, times: int
) -> Trajectory:
    """Each step `times` times, with a way back up in noise between them.

    What is filled in then agrees better with what is kept (RePaint: Lugmayr et al. 2022, arXiv:2201.09865, algorithm
    1). Steps are taken one by one, so that a multistep method is first order here.
    """
    for i in range(len(ts) - 1):
        for k in range(times):
            # Its own noise in every round.
            part = _shifted(noise, (i * times + k) * 1000)
            x = yield from sampler(schedule, x, ts[i : i + 2], part)
            if k + 1 < times and float(ts[i + 1]) > 0:
                x = renoise(schedule, x, ts[i + 1], ts[i], noise("resample", i * times + k))
            elif k + 1 < times:
                break
    return x


def _shifted(noise: NoiseSource, by: int) -> NoiseSource:
    return lambda purpose, index: noise(purpose, by + index)


def slerp(a: Tensor, b: Tensor, share: float) -> Tensor:
    """From noise a (share 0) to noise b (1) along the arc, so that what lies between is as loud. Same shapes.

    Shoemake 1985, "Animating rotation with quaternion curves", section 3.3.
    """
    cos = (a.flatten() @ b.flatten() / (a.norm() * b.norm())).clamp(-1, 1)
    angle = torch.acos(cos)
    if angle < 1e-4:
        return torch.lerp(a, b, share)
    return (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / torch.sin(angle)


def mixed(a: Guide, b: Guide, share: float) -> Guide:
    """Between two guides: (1 - share) of a's x0 and share of b's, their calls in one round."""

    def guide(q: Query) -> Answers:
        one, other = yield from _together([a(q), b(q)])
        return torch.lerp(one, other, share)

    return guide


# --- larger than the network saw --------------------------------------------------------------------------------


def windows(
    make: Callable[[Crop], Guide], size: Sequence[int], overlap: float = 0.5, wrap: bool = False
) -> Guide:
    """A guide for x [B, C, *D] of any size, from windows of `size` (one number an axis) that overlap.

    Each query becomes one for every window; where they overlap their x0 are averaged with weights that fall to the
    windows' edges (MultiDiffusion: Bar-Tal et al. 2023, arXiv:2302.08113, eq. 5). All windows' calls may merge.
    `make` makes each window's own guide, given what crops any [B, C, *D] of the whole to the window. `overlap`: share
    of a window that it has in common with the next. `wrap`: the last axis is a circle, so that the end goes over into
    the beginning.
    """
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap: {overlap} is not allowed. Allowed: 0 to under 1.")
    guides: list[Guide] = []
    known: list[list[Tensor]] = []  # a trajectory has one shape and one device

    def guide(q: Query) -> Answers:
        if not known:
            found = _places(q.x.shape[2:], size, overlap, wrap)
            known.extend([upload(line, q.x.device) for line in place] for place in found)
        places = known
        while len(guides) < len(places):
            guides.append(make(partial(_window, place=places[len(guides)])))
        inner = [g(Query(_window(q.x, place), q.t)) for g, place in zip(guides, places, strict=False)]
        parts = yield from _together(inner)
        total, weight = torch.zeros_like(q.x), torch.zeros_like(q.x[:1, :1])
        for part, place in zip(parts, places, strict=True):
            share = _fading(part, [len(line) < n for line, n in zip(place, q.x.shape[2:], strict=True)])
            index = torch.meshgrid(*place, indexing="ij")
            total[(slice(None), slice(None), *index)] += share * part
            weight[(slice(None), slice(None), *index)] += share
        return total / weight

    return guide


def _places(shape: Sequence[int], size: Sequence[int], overlap: float, wrap: bool) -> list[list[Tensor]]:
    """For each window the indices that it has on each axis."""
    lines = []
    for axis, (n, wide) in enumerate(zip(shape, size, strict=True)):
        circle = wrap and axis == len(shape) - 1
        if wide >= n:
            lines.append([torch.arange(n)])
            continue
        step = max(round(wide * (1 - overlap)), 1)
        if circle:
            count = -(-n // step)
            starts = [round(k * n / count) for k in range(count)]
        else:
            count = -(-(n - wide) // step) + 1
            starts = [round(k * (n - wide) / (count - 1)) for k in range(count)]
        lines.append([(torch.arange(wide) + s) % n for s in starts])
    places: list[list[Tensor]] = [[]]
    for line in lines:
        places = [[*place, one] for place in places for one in line]
    return places


def _window(x: Tensor, place: Sequence[Tensor]) -> Tensor:
    for axis, line in enumerate(place):
        x = x.index_select(axis + 2, line.to(x.device))
    return x


def _fading(like: Tensor, cut: Sequence[bool]) -> Tensor:
    """[1, 1, *D]: highest in the middle, low but never 0 at the edges of axes that are cut."""
    weight = torch.ones(1, 1, *like.shape[2:], device=like.device, dtype=like.dtype)
    for axis, is_cut in enumerate(cut):
        n = like.shape[axis + 2]
        if is_cut:
            line = 1 - (2 * (torch.arange(n, device=like.device) + 0.5) / n - 1).abs()
            weight = weight * line.to(like.dtype).view(*[1] * (axis + 2), n, *[1] * (like.ndim - axis - 3))
    return weight


def _together(inner: Sequence[Answers]) -> Generator[list[Call], list[Tensor], list[Tensor]]:
    """Run several guides side by side, the calls of all in one round."""
    found: dict[int, Tensor] = {}
    waiting: dict[int, list[Call]] = {}

    def resume(number: int, answers: list[Tensor] | None) -> None:
        waiting.pop(number, None)
        try:
            guide = inner[number]
            waiting[number] = next(guide) if answers is None else guide.send(answers)
        except StopIteration as stop:
            found[number] = stop.value

    try:
        for number in range(len(inner)):
            resume(number, None)
        while waiting:
            order = list(waiting)
            counts = [len(waiting[number]) for number in order]
            answers = yield [call for number in order for call in waiting[number]]
            for number, count in zip(order, counts, strict=True):
                resume(number, answers[:count])
                answers = answers[count:]
        return [found[number] for number in range(len(inner))]
    finally:
        for guide in inner:
            guide.close()
