"""Operators that torch's exporter to ONNX lacks, or for which it fixes sizes, made of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Exportable(TorchFunctionMode):
    """Inside the block this thread calls these in place of torch's."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _INSTEAD.get(func, func)(*args, **(kwargs or {}))


def _rms_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean x² + eps) weight, over the last axes (Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4)."""
    axes = tuple(range(-len(shape), 0))
    normal = (
        x / (x.square().mean(axes, keepdim=True) + (torch.finfo(x.dtype).eps if eps is None else eps)).sqrt()
    )
    return normal if weight is None else normal * weight


def _unflatten(x: Tensor, dim: int, sizes: Sequence[int]) -> Tensor:
    dim = dim % x.ndim
    return x.reshape(*x.shape[:dim], *sizes, *x.shape[dim + 1 :])


_INSTEAD: dict[Any, Callable[..., Tensor]] = {
    torch.nn.functional.rms_norm: _rms_norm,
    torch.rms_norm: _rms_norm,
    torch.Tensor.unflatten: _unflatten,
}
