"""Weights in the layout in which a CPU multiplies them.

oneDNN brings the weights of a convolution into blocks at each call. In networks of real size, whose weights outweigh
what they work on, that takes longer than the convolution itself. Here they are brought there once and kept, and the
plain copy is handed back to the system where it is a part of a file: it is read again when somebody asks for it.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from multigen.backbones.winograd import samples_on_cpu
from multigen.core.copies import Stamp

SMALLEST = 2**16  # numbers of a weight, below which its layout does not matter
FEWEST = 16  # rows of a product, below which reading the weight is all that takes time
PAGE_OUT = 21  # MADV_PAGEOUT of Linux: never loses anything; pages of files go, others go to swap
_NONE: Any = ("none", [], "")  # what is done to the answer: nothing


class _Held(NamedTuple):
    """The blocks of a weight, and the weight that they were made of."""

    made_of: Stamp
    packed: Tensor


class PackedWeights:
    """Blocks of the weights that calls inside `used` multiply; they are made at the first call and kept.

    A weight that was changed since, as LoRAs do, is packed again. Only calls on a CPU in fp32 without gradients use
    them.
    """

    def __init__(self) -> None:
        self._held: dict[int, _Held] = {}

    def __deepcopy__(self, memo: Mapping[int, object]) -> PackedWeights:
        return PackedWeights()

    def __reduce__(self) -> tuple[type[PackedWeights], tuple[()]]:
        return PackedWeights, ()

    @contextmanager
    def used(self, x: Tensor) -> Iterator[None]:
        """Inside the block, convolutions and linear layers multiply blocks, if x says that they can."""
        with _Packing(self) if samples_on_cpu(x) and available() else nullcontext():
            yield

    @property
    def nbytes(self) -> int:
        """Bytes of all blocks, without what oneDNN adds to fill them up."""
        return sum(held.made_of.weight.nbytes for held in list(self._held.values()))

    def clear(self) -> None:
        """Forget all blocks."""
        self._held.clear()

    def find(self, weight: Tensor, make: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the blocks of a weight, which `make` makes where there are none or the weight was changed."""
        held = self._held.get(id(weight))
        if held is None or not held.made_of.holds(weight):
            held = self._held[id(weight)] = _Held(Stamp.of(weight), make(weight.detach()))
            _page_out(weight)
        return held.packed


class _Packing(TorchFunctionMode):
    """Convolutions over two axes, and linear layers, multiply the blocks of their weights."""

    def __init__(self, weights: PackedWeights) -> None:
        super().__init__()
        self._weights = weights

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not kwargs:
            if func is F.conv2d:
                return self._conv2d(*args)
            if func is F.linear:
                return self._linear(*args)
        return func(*args, **(kwargs or {}))

    def _conv2d(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> Tensor:
        if not _takes(x, weight) or groups != 1 or x.ndim != 4 or isinstance(padding, str):
            return F.conv2d(x, weight, bias, stride, padding, dilation, groups)
        how = [_pair(padding), _pair(stride), _pair(dilation), groups]

        def make(plain: Tensor) -> Tensor:
            nn: Any = torch._C._nn  # pyright: ignore[reportAttributeAccessIssue]
            return nn.mkldnn_reorder_conv2d_weight(plain.to_mkldnn(), *how, list(x.shape))

        packed = self._weights.find(weight, make)
        return torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *how, *_NONE)

    def _linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rows = x.numel() // x.shape[-1]
        if not _takes(x, weight) or rows < FEWEST:
            return F.linear(x, weight, bias)
        packed = self._weights.find(
            weight, lambda plain: torch.ops.mkldnn._reorder_linear_weight(plain, rows)
        )
        return torch.ops.mkldnn._linear_pointwise(x, packed, bias, *_NONE)


def worth(network: torch.nn.Module) -> bool:
    """Whether a network has a weight that is large enough to be packed.

    Looking at each call inside it takes as long as a small network's own calls.
    """
    return any(weight.numel() >= SMALLEST for weight in network.parameters())


def _takes(x: Tensor, weight: Tensor) -> bool:
    """Whether blocks serve this product."""
    plain = type(weight) in (Tensor, torch.nn.Parameter) and weight.is_contiguous()
    known = plain and not weight.is_inference()  # which do not count their versions
    return known and x.dtype == weight.dtype == torch.float32 and weight.numel() >= SMALLEST and x.numel() > 0


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)


def available() -> bool:
    """Whether this torch packs weights, which it does where it has oneDNN."""
    return torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)


def _page_out(weight: Tensor) -> None:
    """Tell Linux that a weight is not needed soon; the memory of a file goes."""
    if sys.platform != "linux":
        return
    start = -(-weight.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (weight.data_ptr() + weight.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), PAGE_OUT)
