"""A student's header is data from elsewhere: it passes the checks and limits of a recipe file, or is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe
from multigen.recipe.students import sampling_of

HOW: dict[str, Any] = {
    "sampler": {"name": "ddim", "eta": 1e-05},
    "timesteps": {"name": "uniform"},
    "guide": {"name": "plain"},
    "modifiers": [],
    "sample": {"steps": 2, "polish": {"passes": 0, "noise": 0.5}},
}


def student(folder: Path, how: object, *, padding: int = 0) -> Path:
    about = how if isinstance(how, str) else json.dumps({"sampling": how})
    header = json.dumps({"__metadata__": {"multigen": about}}).encode() + b" " * padding
    path = folder / "fast.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    return path


def test_a_header_is_read_as_a_recipe_is(tmp_path: Path) -> None:
    path = student(tmp_path, HOW)
    assert sampling_of(path) == HOW
    assert load_recipe("image_digits", [f"fast={path}"]).sampler.args == {"eta": 1e-05}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sampler": {"name": "ddim", "_target_": "os.system"}}, "'_target_' is not allowed"),
        ({"sampler": {"name": "ddim", "eta": "${oc.env:HOME}"}}, "only interpolation"),
        ({"sampler": {"name": "os.system"}}, "not import paths"),
        ({"sampler": {"name": "ddim", "a.b": 1}}, "'a.b' is not allowed"),
        ({"sampler": {"name": "ddim", "eta": float("nan")}}, "not a readable student"),
        ({"sampler": {"name": "ddim", "eta": 10**200}}, "201 digits"),
        ({"sampler": {"name": "ddim", "eta": "${hydra.run.dir}"}}, "Hydra's own settings"),
        ({"modifiers": ["x" * 300_000]}, "at most 262,144"),
        ({"modifiers": [0] * 60_000}, "50,000 values"),
        ({"sample": ["steps", "polish"]}, "not a readable student"),
        ({"sampler": {"name": "ddim", "new": 1}}, r"fast.safetensors.*sampler\.new"),
    ],
)
def test_what_a_recipe_may_not_contain_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = student(tmp_path, HOW | change)
    with pytest.raises(RecipeError, match=said) as caught:
        load_recipe("image_digits", [f"fast={path}"])
    assert path.name in str(caught.value)


def test_deep_and_large_headers_are_refused_before_they_are_parsed_further(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(RecipeError, match="deeper than 32 levels"):
        sampling_of(student(tmp_path, HOW | {"modifiers": deep}))
    with pytest.raises(RecipeError, match="not a readable student"):
        sampling_of(student(tmp_path, "[" * 200_000))
    with pytest.raises(RecipeError, match="its header has"):
        sampling_of(student(tmp_path, HOW, padding=9 * 1024 * 1024))
