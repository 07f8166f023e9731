"""Weights in 8 bits: half a scale off at most, read back by every reader of weights; wrong files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError
from multigen.storage.int8 import SCALE, packable, packed, unpacked
from multigen.storage.tensors import load_tensors, read_shapes, save_tensors


def test_a_weight_comes_back_within_half_a_scale_and_in_a_quarter_of_the_bytes(tmp_path: Path) -> None:
    weight = torch.randn(40, 9, 3, 3) * torch.logspace(-6, 3, 40)[:, None, None, None]
    weight[7] = 0
    tensors = {"a.weight": weight, "a.bias": torch.randn(40), "b": torch.randn(3, 3)}
    assert [name for name, tensor in tensors.items() if packable(tensor)] == ["a.weight"]
    stored = packed(tensors, {"a.weight"})
    assert stored["a.weight"].dtype == torch.int8 and stored["a.weight"].abs().amax() == 127
    file = tmp_path / "a.safetensors"
    save_tensors(file, stored)
    assert file.stat().st_size < 0.35 * sum(t.numel() * 4 for t in tensors.values())
    back = load_tensors(file)
    assert back.keys() == tensors.keys() == read_shapes(file).keys()
    scale = weight.flatten(1).abs().amax(1) / 127
    error = (back["a.weight"] - weight).flatten(1).abs().amax(1)
    assert (error <= 0.5001 * scale).all() and error[7] == 0
    assert torch.equal(back["a.bias"], tensors["a.bias"]) and torch.equal(back["b"], tensors["b"])


def test_what_is_no_weight_in_8_bits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w: holds numbers that are not finite"):
        packed({"w": torch.full((40, 40), torch.inf)}, {"w"})
    with pytest.raises(ValueError, match="there is no int8 weight of 3 channels"):
        unpacked({"w": torch.zeros(4, 4, dtype=torch.int8), "w" + SCALE: torch.ones(3)})
    save_tensors(tmp_path / "a.safetensors", {"w" + SCALE: torch.ones(3)})
    with pytest.raises(MultigenError, match="there is no int8 weight"):
        load_tensors(tmp_path / "a.safetensors")
