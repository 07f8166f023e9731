"""Copy tensors to a device, and run work on it, without making the host wait."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """Copy a tensor to a device, as `dtype` if one is given.

    From the CPU to CUDA it goes through pinned memory, in the order of the stream: the host does not wait for the
    device's pending work, as it would with a plain `.to`. All other copies are plain ones.
    """
    place = torch.device(device)
    if place.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(place, dtype)
    return tensor.to(dtype=dtype).contiguous().pin_memory().to(place, non_blocking=True)


@contextmanager
def side_stream(device: torch.device) -> Iterator[None]:
    """Run the block's CUDA work on a stream of its own, ahead of what is queued; later work waits for it.

    The host can then read the block's results without waiting for the rest. Tensors made in the block and used after it
    need `Tensor.record_stream`. On other devices this does nothing.
    """
    if device.type != "cuda":
        yield
        return
    main, side = torch.cuda.current_stream(device), _side(device)
    with torch.cuda.stream(side):
        yield
    main.wait_stream(side)


@functools.cache
def _side(device: torch.device) -> torch.cuda.Stream:
    """One stream a device: each has memory of its own."""
    return torch.cuda.Stream(device, priority=-1)
