"""`sample.precision=auto`: bf16 where the device is faster with it, for weights that were found as good in it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

import multigen.device
from multigen.device import choose_precision
from multigen.model.checked import STAGE, Checked, checked_of, sampling_precision
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe

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


def test_reads_what_was_measured_and_warns_of_what_no_check_writes(caplog: pytest.LogCaptureFixture) -> None:
    assert checked_of({}) is None
    assert checked_of({STAGE: json.loads(json.dumps(dataclasses.asdict(GOOD)))}) == GOOD
    whole = dataclasses.asdict(GOOD)
    for wrong in ({"kernel": 3}, [], whole | {"media": float("inf")}, whole | {"skills": 1}):
        caplog.clear()
        assert checked_of({STAGE: wrong}) is None
        assert [f"{STAGE}: ignored" in record.getMessage() for record in caplog.records] == [True]
