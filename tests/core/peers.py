"""Peers that parity is tested against, where they are installed."""

from __future__ import annotations

from types import ModuleType

import pytest

from benchmarks import peers


def k_sampling() -> ModuleType:
    """`k_diffusion.sampling`, or skip the test."""
    module = peers.k_sampling()
    if module is None:
        pytest.skip(peers.note())
    return module
