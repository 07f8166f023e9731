"""Copies to a device that nobody waits for."""

from __future__ import annotations

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
