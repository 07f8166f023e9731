"""Circles: samples that go on beyond their ends, so that the end meets the beginning.

A convolution pads a sample with zeros, which is where seams come from. Along an axis that is closed it is padded with
what lies at the other end. Every place is then like every other, and none is a border.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Closed(NamedTuple):
    """How a sample [B, C, *D] goes on beyond its ends.

    axes   counted from the last, -1: along each of them the end continues in the beginning
    poles  beyond the top and the bottom it goes on half a turn further, upside down, as a globe does beyond its poles;
           the last axis is closed, too
    """

    axes: tuple[int, ...] = ()
    poles: bool = False

    def __bool__(self) -> bool:
        return bool(self.axes) or self.poles

    def goes_on(self, axis: int) -> bool:
        """Whether there is something beyond the ends of an axis, which is counted from the last."""
        return axis in self.axes or (self.poles and axis == -2)


OPEN = Closed()


def extend(x: Tensor, pad: Sequence[int], closed: Closed) -> Tensor:
    """Pad x [..., *D] by what lies beyond its ends, and by zeros along axes that are not closed.

    pad  places before and after the last axis, then before and after the one before it ..., as
         `torch.nn.functional.pad` takes them
    """
    pairs = [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)]
    if closed.poles and len(pairs) > 1 and any(pairs[1]):  # first, as it needs whole turns
        x = _beyond_poles(x, *pairs[1])
        pairs[1] = (0, 0)
    for place, (before, after) in enumerate(pairs):
        if (before or after) and -1 - place in closed.axes:
            x = _around(x, -1 - place, before, after)
            pairs[place] = (0, 0)
    zeros = [n for pair in pairs for n in pair]
    return F.pad(x, zeros) if any(zeros) else x


def _around(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    n = x.shape[axis]
    if max(before, after) <= n:
        return torch.cat([x.narrow(axis, n - before, before), x, x.narrow(axis, 0, after)], axis)
    places = torch.arange(-before, n + after, device=x.device) % n
    return x.index_select(axis, places)


def _beyond_poles(x: Tensor, before: int, after: int) -> Tensor:
    """Rows beyond the first and the last of x [..., H, W], at most H of each."""
    height, width = x.shape[-2:]
    top, bottom = x[..., :before, :], x[..., height - after :, :]
    parts = [top.flip(-2).roll(width // 2, -1), x, bottom.flip(-2).roll(width // 2, -1)]
    return torch.cat(parts, -2)
