"""The networks that the benchmarks compare are of one size."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from benchmarks import peers
from multigen.core.noise import normal


def compare(pair: peers.Pair) -> None:
    x, noise = normal((1, 3, 32, 32), 0, "x"), torch.zeros(1)
    mine = peers.size(pair.multigen, pair.call_multigen, x, noise)
    theirs = peers.size(pair.peer, pair.call_peer, x, noise)
    assert mine.parameters == pytest.approx(theirs.parameters, rel=peers.TOLERANCE)
    assert mine.flops == pytest.approx(theirs.flops, rel=peers.TOLERANCE)
    assert mine.flops > 1e9


def test_same_size_as_diffusers() -> None:
    compare(peers.diffusers_pair())


@pytest.mark.skipif(find_spec("denoising_diffusion_pytorch") is None, reason="see benchmarks/peers.txt")
def test_same_size_as_denoising_diffusion_pytorch() -> None:
    compare(peers.lucidrains_pair())
