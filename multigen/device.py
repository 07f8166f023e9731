"""Choose the device and the precision: by default the best that the machine has."""

from __future__ import annotations

import functools
import time
from typing import Literal

import torch

from multigen.errors import MultigenError, message

Precision = Literal["auto", "fp32", "bf16"]


def devices() -> list[str]:
    """List the devices that torch can use here, best first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*cuda, *mps, "cpu"]


def choose_device(name: str | None = None) -> torch.device:
    """Return the named device, or the best one. MultigenError if there is no such device."""
    available = devices()
    if name in (None, "auto"):
        return torch.device(available[0])
    if name not in (*available, *(d.partition(":")[0] for d in available)):
        raise MultigenError(message("--device", name, available))
    return torch.device(str(name))


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype | None:
    """Return the dtype that the network computes in, None for fp32. `auto`: bf16 if the device is faster with it."""
    if precision != "auto":
        return torch.bfloat16 if precision == "bf16" else None
    return torch.bfloat16 if _bf16_is_faster(device) else None


def _bf16_is_faster(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    return torch.cpu._is_amx_tile_supported() or (
        torch.cpu._is_avx512_bf16_supported() and _measured_faster()
    )


@functools.cache
def _measured_faster() -> bool:
    """Whether this CPU multiplies matrices in bf16 in under 0.8 of the time that fp32 takes.

    With AVX-512 BF16 alone some take half of it (AMD Zen 4), others twice as long (Intel's without AMX). In 0.1 s.
    """
    x = torch.ones(512, 512)
    pair = (x, x.bfloat16())
    seconds: tuple[list[float], list[float]] = ([], [])
    with torch.inference_mode():
        for _ in range(6):
            for matrix, found in zip(pair, seconds, strict=True):
                start = time.perf_counter()
                torch.mm(matrix, matrix)
                found.append(time.perf_counter() - start)
    full, half = map(min, seconds)
    return half < 0.8 * full


def describe(device: torch.device, dtype: torch.dtype | None) -> str:
    """Describe a device and precision in a few words, such as "cpu (2 threads), bf16"."""
    if device.type == "cuda":
        name = f"{device} ({torch.cuda.get_device_name(device)})"
    elif device.type == "cpu":
        name = f"cpu ({torch.get_num_threads()} threads)"
    else:
        name = str(device)
    return f"{name}, {'fp32' if dtype is None else 'bf16'}"
