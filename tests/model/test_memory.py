"""Many generations with changing prompts take no more memory and no more open files."""

from __future__ import annotations

import sys

import pytest

import multigen
from tests.modalities.test_memory import growth


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_generating_with_changing_prompts_keeps_nothing() -> None:
    model = multigen.load("image_emoji", device="cpu")
    megabytes, files = growth(lambda k: model.generate(f"red apple {k}", n=1, seed=k, steps=1), 30, 20)
    assert megabytes < 25
    assert files == 0
