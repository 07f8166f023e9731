"""What makes training faster or smaller changes what it computes by rounding alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._inductor.config as inductor

from multigen.errors import TrainingError
from multigen.training import log as training_log
from multigen.training.compiled import compiled
from tests.training.toys import diffusion, trainer


def losses(folder: Path, precision: torch.dtype | None = None, **settings: Any) -> list[float]:
    t = trainer(folder, log_every=1, **settings)
    diffusion(t).precision = precision
    t.run()
    if precision is not None:
        assert {p.dtype for p in t.parameters.values()} == {torch.float32}
        assert {s.dtype for s in t.ema.shadow.values()} == {torch.float32}
        assert {v.dtype for s in t.optimizer.state.values() for v in s.values()} == {torch.float32}
    return [row["loss"] for row in training_log.read(folder) if "loss" in row]


def test_accumulation_in_four_parts_is_the_same_training(tmp_path: Path) -> None:
    whole, parts = losses(tmp_path / "a"), losses(tmp_path / "b", accumulate=4)
    assert parts == pytest.approx(whole, rel=1e-5)


def test_bf16_computes_in_bf16_and_keeps_fp32(tmp_path: Path) -> None:
    whole, half = losses(tmp_path / "a"), losses(tmp_path / "b", torch.bfloat16)
    assert half != whole
    assert half == pytest.approx(whole, rel=0.05)


def test_fused_adamw_is_adamw(tmp_path: Path) -> None:
    fused, plain = trainer(tmp_path / "a"), trainer(tmp_path / "b")
    assert fused.optimizer.defaults["fused"]
    for group in plain.optimizer.param_groups:
        group["fused"] = False
    plain.optimizer.defaults["fused"] = False
    fused.run()
    plain.run()
    for name, p in fused.parameters.items():
        torch.testing.assert_close(plain.parameters[name], p, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "compile_threads", 1)  # a pool of processes would take longer to start
    eager = losses(tmp_path / "a", steps=3)
    assert losses(tmp_path / "b", steps=3, compile=True) == pytest.approx(eager, rel=1e-4)


def test_without_a_compiler_one_message_says_so() -> None:
    def twice(x: torch.Tensor) -> torch.Tensor:
        return (2 * x).sin() + 1

    torch.compiler.reset()
    # Not by monkeypatch, which takes the settings away when it is undone.
    absent = inductor.patch({"cpp.cxx": ("no-such-compiler",), "force_disable_caches": True})
    with absent, pytest.raises(TrainingError, match=r"train\.compile: the network cannot be compiled here"):
        compiled(twice)(torch.arange(64.0))
    torch.compiler.reset()
