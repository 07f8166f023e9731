"""Requests from Python: values of a wrong kind are refused by name, as a line of JSON refuses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.registry import Part


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("prompt", 7, "give a text"),
        ("prompt", None, "None is not allowed; give a text"),
        ("negative_prompt", ["a"], "give a text"),
        ("seed", 1.0, "give a whole number"),
        ("steps", 2.5, "give a whole number"),
        ("steps", "8", "give a whole number"),
        ("steps", True, "give a whole number"),
        ("guidance_scale", "3", "give a number"),
        ("size", "32x32", r"give a whole number or \(height, width\)"),
        ("size", (32, 32, 3), r"give a whole number or \(height, width\)"),
        ("duration", "3s", "give a number"),
        ("loop", "no", "give True or False"),
        ("overrides", "guide.scale=2", "give a list of texts"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_name(name: str, value: Any, wanted: str):
    with pytest.raises(MultigenError, match=rf"^{name}: .*{wanted}$"):
        Request(**{"prompt": "a", name: value})


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("strength", "0.5", "give a number"),
        ("mask_is", 1, "give a text"),
        ("resample", 2.0, "give a whole number"),
        ("resample", None, "None is not allowed; give a whole number"),
        ("feather", [4], "give a number"),
        ("invert", 3, "give a text"),
        ("noise", "low", "give a number"),
    ],
)
def test_edits_refuse_them_too(name: str, value: Any, wanted: str):
    with pytest.raises(MultigenError, match=rf"^{name}: .*{wanted}$"):
        EditRequest("a.png", **{name: value})


def test_numbers_of_numpy_and_whole_numbers_for_numbers_are_allowed():
    request = Request("a", seed=np.int64(3), steps=np.int32(4), guidance_scale=2, size=(np.int64(8), 8))  # pyright: ignore[reportArgumentType]
    assert (request.seed, request.steps, request.size) == (3, 4, (8, 8))
    edit = EditRequest(
        torch.zeros(1, 4, 4), strength=1, keep=torch.ones(4, 4, dtype=torch.bool), mask=Path("m.png"), extend=[1, 2],
        restore=None,
    )  # fmt: skip
    assert edit.strength == 1
    assert Request("a", sampler=Part("ddim"), guide={"name": "cfg"}).sampler == Part("ddim")
