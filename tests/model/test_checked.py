"""`sample.precision=auto`: bf16 where the device is faster with it, for weights that were found as good in it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import multigen.device
from multigen.device import choose_precision
from multigen.model.checked import STAGE, Checked, checked_of, sampling_precision
from multigen.model.model import Model
from multigen.model.source import find_weights
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.storage import lora

CPU = torch.device("cpu")
GOOD = Checked(48, (0.5, 0.5), 0.02, {"hue": (1.0, 0.99)}, 0.01)


def recipe(precision: str, *more: str) -> Recipe:
    return load_recipe("image_digits", [f"sample.precision={precision}", *more])


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multigen.device, "_bf16_is_faster", lambda device: True)


@pytest.mark.usefixtures("fast")
def test_auto_needs_a_fast_device_and_weights_that_are_as_good() -> None:
    worse = dataclasses.replace(GOOD, skills={"hue": (1.0, 0.9)})
    farther = dataclasses.replace(GOOD, kernel=(0.5, 0.53))
    assert sampling_precision(recipe("auto"), CPU, GOOD) is torch.bfloat16
    for found in (None, worse, farther):
        assert sampling_precision(recipe("auto"), CPU, found) is None
        assert sampling_precision(recipe("bf16"), CPU, found) is torch.bfloat16
    assert sampling_precision(recipe("auto", "loras=[{path: a.safetensors, weight: 1}]"), CPU, GOOD) is None
    assert sampling_precision(recipe("fp32"), CPU, GOOD) is None


def test_a_slow_device_stays_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    for measured in (True, False):
        monkeypatch.setattr(multigen.device, "_measured_faster", lambda measured=measured: measured)
        assert (choose_precision("auto", CPU) is torch.bfloat16) is measured
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert choose_precision("auto", CPU) is None


@pytest.mark.usefixtures("fast")
def test_auto_is_decided_again_with_each_set_of_loras(tmp_path: Path) -> None:
    measured = {STAGE: dataclasses.asdict(GOOD)}
    tiny = Model(recipe("auto", "backbone.widths=[8,8]", "backbone.attention=[false,false]"), device="cpu")
    file, adapter = tiny.save(tmp_path / "tiny.safetensors"), change_of(tiny, tmp_path / "lora.safetensors")
    found = find_weights(str(file))._replace(measured=measured)
    model = Model.of(found, device="cpu")
    assert model.denoiser.precision is torch.bfloat16
    model.adapt({adapter: 1.0})
    assert model.denoiser.precision is None
    model.adapt({})
    assert model.denoiser.precision is torch.bfloat16
    model.load_weights(tiny.state_dict(), "here")  # of which nothing was measured
    assert model.denoiser.precision is None and not model.measured
    # A model that is a LoRA itself, as a student is: what was measured was its base's.
    own = Model.of(found._replace(adapter=lora.read(Path(adapter))), device="cpu")
    assert own.denoiser.precision is None


def change_of(model: Model, path: Path) -> str:
    """A LoRA on the first layer of a model's network."""
    weight = model.denoiser.backbone.get_parameter("enter.weight")
    down, up = torch.randn(2, *weight.shape[1:]), torch.randn(len(weight), 2)
    pair = lora.Pair(down, up[..., None, None], 1.0)
    return str(lora.write(path, lora.Adapter({"enter": pair}, {}, "made")))


def test_reads_what_was_measured_and_warns_of_what_no_check_writes(caplog: pytest.LogCaptureFixture) -> None:
    assert checked_of({}) is None
    assert checked_of({STAGE: json.loads(json.dumps(dataclasses.asdict(GOOD)))}) == GOOD
    whole = dataclasses.asdict(GOOD)
    for wrong in ({"kernel": 3}, [], whole | {"media": float("inf")}, whole | {"skills": 1}):
        caplog.clear()
        assert checked_of({STAGE: wrong}) is None
        assert [f"{STAGE}: ignored" in record.getMessage() for record in caplog.records] == [True]
