"""Copy tensors to a device without making the host wait."""

from __future__ import annotations

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
