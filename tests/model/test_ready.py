"""`sample.compile`: one message without a compiler, else the same media, in any batch, compiled once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import torch._inductor.config as inductor
from torch._dynamo.utils import counters

from multigen.backbones.unet import UNet
from multigen.core import Cond, Denoiser, predictions, schedules
from multigen.core.conditioning import CondSpec
from multigen.errors import TrainingError
from multigen.model.ready import compile_regions


def denoiser() -> Denoiser:
    torch.manual_seed(0)
    net = UNet(axes=2, channels=2, out_channels=2, cond=CondSpec(), widths=(8,), blocks=1, attention=(False,))
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return Denoiser(net, schedules.flow(), predictions.flow())


def test_without_a_compiler_one_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    absent = inductor.patch({"cpp.cxx": ("no-such-compiler",)})
    with absent, pytest.raises(TrainingError, match=r"sample\.compile: .* sample\.compile=false"):
        compile_regions(denoiser())
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_blocks_say_the_same_in_any_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()
    d = denoiser()
    x, t = torch.randn(5, 2, 8, 8), torch.full((5,), 0.5)
    with torch.no_grad(), inductor.patch({"compile_threads": 1}):
        eager = d(x, t, Cond())
        compile_regions(d)
        torch.testing.assert_close(d(x, t, Cond()), eager, rtol=1e-4, atol=1e-5)
        assert any(tmp_path.iterdir())
        before = counters["stats"]["unique_graphs"]
        for size in (2, 3, 4):
            torch.testing.assert_close(d(x[:size], t[:size], Cond()), eager[:size], rtol=1e-4, atol=1e-5)
        assert counters["stats"]["unique_graphs"] == before
    torch.compiler.reset()
