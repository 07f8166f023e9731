"""Copies to a device that nobody waits for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def upload(tensor: Tensor, device: torch.device | str, dtype: torch.dtype | None = None) -> Tensor:
    """The tensor on a device, and of another dtype where one is given.

    From the CPU to CUDA it goes by way of pinned memory, in the order of the stream: the host does not wait for what
    the device still has to do, as it would for a plain `.to`. All other copies are plain ones.
    """
    place = torch.device(device)
    if place.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(place, dtype)
    return tensor.to(dtype=dtype).contiguous().pin_memory().to(place, non_blocking=True)


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """What runs inside on CUDA goes past what is queued already; what comes after the block waits for it there.

    The host can then look at what was made inside without waiting for the rest. Tensors made inside and used after the
    block must be told so (`Tensor.record_stream`).
    """
    if device.type != "cuda":
        yield
        return
    main, side = torch.cuda.current_stream(device), torch.cuda.Stream(device, priority=-1)
    with torch.cuda.stream(side):
        yield
    main.wait_stream(side)
