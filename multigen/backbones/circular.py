"""Convolutions of other libraries' networks that take samples as circles.

Inside `circular`, what torch convolves or pads with zeros is padded by what lies at the other end, along the axes that
are closed. Nothing of the network changes, so that other calls of it, and other threads, are as they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from multigen.core.circles import Closed, extend

_PICTURES = (4, 5)  # axes of [B, C, H, W] and [B, C, T, H, W]


class circular(TorchFunctionMode):  # noqa: N801  # a context manager
    """A block in which convolutions over two and three axes go round along closed axes."""

    def __init__(self, closed: Closed) -> None:
        super().__init__()
        self._closed = closed

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is F.conv2d or func is F.conv3d:
            return self._convolved(func, *args, **given)
        if func is F.pad:
            return self._padded(*args, **given)
        return func(*args, **given)

    def _convolved(
        self,
        convolve: Callable[..., Tensor],
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        sides = [*_sides(padding, weight, dilation)]
        pad: list[int] = []
        for place in range(len(sides)):
            before, after = sides[-1 - place] if self._closed.goes_on(-1 - place) else (0, 0)
            pad += [before, after]
        if not any(pad):
            return convolve(input, weight, bias, stride, padding, dilation, groups)
        rest = [0 if self._closed.goes_on(k - len(sides)) else side[0] for k, side in enumerate(sides)]
        return convolve(extend(input, pad, self._closed), weight, bias, stride, rest, dilation, groups)

    def _padded(
        self, input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
    ) -> Tensor:
        """Zeros around pictures, such as those before a convolution that halves them."""
        if mode != "constant" or value or input.ndim not in _PICTURES or len(pad) > 4 or min(pad) < 0:
            return F.pad(input, pad, mode, value)
        return extend(input, pad, self._closed)


def _sides(padding: Any, weight: Tensor, dilation: Any) -> list[tuple[int, int]]:
    """Places that a convolution adds before and after each axis of its kernel."""
    kernel = weight.shape[2:]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    steps = [dilation] * len(kernel) if isinstance(dilation, int) else dilation
    if padding == "same":
        more = [step * (n - 1) for step, n in zip(steps, kernel, strict=True)]
        return [(n // 2, n - n // 2) for n in more]
    each = [padding] * len(kernel) if isinstance(padding, int) else list(padding)
    each = each * len(kernel) if len(each) == 1 else each
    return [(n, n) for n in each]
