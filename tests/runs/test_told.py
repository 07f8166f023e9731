"""What of a recipe and a request in a stranger's file is taken."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from multigen.cli.request_file import read_request
from multigen.errors import MultigenError
from multigen.generation.made import FIELDS
from multigen.generation.request import Request
from multigen.provenance.made import Made
from multigen.provenance.marking import mark_file
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.recipe.sections import Provenance, Safety
from multigen.runs.told import make_again
from multigen.runs.told_recipe import check_request, told_recipe
from tests.provenance.media import written

# Fields of a request that its recipe, its prompt or its seed tell, or that need files.
TOLD_ELSEWHERE = {
    "prompt", "seed", "guidance_scale", "sampler", "guide", "cache", "overrides", "options", "edit", "images",
}  # fmt: skip


def told(*overrides: str) -> str:
    return to_yaml(load_recipe("image_digits", overrides))


def test_every_field_of_a_request_is_told_or_is_told_elsewhere() -> None:
    names = {field.name for field in dataclasses.fields(Request)}
    assert set(FIELDS) | TOLD_ELSEWHERE == names and not set(FIELDS) & TOLD_ELSEWHERE


def test_what_watches_signs_and_logs_is_the_users(tmp_path: Path) -> None:
    theirs = (f"safety.log={tmp_path}/log", "safety.checker=off", "provenance.sign=off", "watermark=off")
    recipe = told_recipe(told(*theirs), "x.png: recipe")
    assert (recipe.safety, recipe.provenance, recipe.watermark) == (Safety(), Provenance(), "auto")
    recipe = told_recipe(told(*theirs), "x.png: recipe", ["safety.log=mine", "watermark=on", "guide.scale=2"])
    assert (
        recipe.safety == Safety(log="mine") and recipe.watermark == "on" and recipe.guide.args["scale"] == 2
    )


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "~/x.png", "../x.png", "a/../../x.png", "C:\\x.png", "//host/a"]
)
def test_files_of_this_machine_are_refused_by_name(path: str) -> None:
    theirs = f"adapters=[{{path: a.safetensors, image: '{path}'}}]"
    with pytest.raises(
        MultigenError, match="x.png: recipe: it reads files of this machine: adapters.0.image"
    ):
        told_recipe(told(theirs), "x.png: recipe")
    mine = "adapters=[{path: a.safetensors, image: '/home/me/edges.png'}]"
    assert told_recipe(told(theirs), "x.png: recipe", [mine]).adapters[0].image == "/home/me/edges.png"


def test_weights_may_be_anywhere_but_on_another_host() -> None:
    text = told(
        "weights=/models/a.safetensors", "loras=[{path: /models/b.safetensors}]", "sample.prompts=['/a']"
    )
    assert told_recipe(text, "x").weights == "/models/a.safetensors"
    with pytest.raises(MultigenError, match="weights: '//host"):
        told_recipe(told("weights=//host/a.safetensors"), "x")


@pytest.mark.parametrize(
    "key", ["images", "overrides", "input", "mask", "last", "prompt", "guide", "nonsense"]
)
def test_a_request_of_a_file_names_no_files_and_no_overrides(key: str) -> None:
    with pytest.raises(MultigenError, match=f"x.png: request: {key}"):
        check_request(json.dumps({"steps": 2, key: ["/etc/passwd"]}), "x.png: request", "image_digits")
    check_request('{"steps": 2, "loop": true}', "x.png: request", "image_digits")


def test_a_file_without_the_hash_of_its_weights_is_not_run(tmp_path: Path) -> None:
    file = written(tmp_path, "image", ".png")
    mark_file(file, Made("image_digits", "", "off", embedded={"recipe": told(), "seed": 1, "request": "{}"}))
    with pytest.raises(MultigenError, match="its weights_hash is missing"):
        make_again(str(file), read=lambda text, where, recipe: read_request(text, where))
