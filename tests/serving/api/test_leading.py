"""Requests bring pictures for the adapters of a served model, as `multigen sample --image` does."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from torch import Tensor

import multigen
from multigen import EditRequest, Request
from multigen.model.source import find
from multigen.recipe.dump import to_yaml
from multigen.recipe.schema import WeightedAdapter
from multigen.registry import build
from tests.backbones.test_ip_adapter import picture, written
from tests.families import folders
from tests.serving.servers import Running, running

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable

BODY: dict[str, Any] = {"prompt": "a red apple", "seed": 3, "steps": 2, "size": "16x16"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with an IP-Adapter whose requests give the picture, and two pictures."""
    place = tmp_path_factory.mktemp("led")
    folder = folders.stable_diffusion(place / "pipeline")
    adapter = written(place, d.UNet2DConditionModel.from_pretrained(folder / "unet"), plus=False)
    for k in range(2):
        picture(place / f"{k}.png", k)
    recipe = dataclasses.replace(
        find(folder).recipe, adapters=(WeightedAdapter(str(adapter), name="ip_adapter"),)
    )
    (place / "led.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def led(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running({"led": str(place / "led.yaml")}, tmp_path_factory.mktemp("store")) as one:
        yield one


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def levels(content: bytes) -> Tensor:
    return torch.tensor(list(Image.open(io.BytesIO(content)).convert("RGB").tobytes()))


def wanted(place: Path, number: int, **options: Any) -> Tensor:
    model = multigen.load(place / "led.yaml", device="cpu")
    asked = Request("a red apple", seed=3, steps=2, images=[place / f"{number}.png"], **options)
    (one,) = model.stream(asked)
    out = place / "wanted.png"
    build("modality", model.recipe.modality, where="").write(one.tensor, out)
    return levels(out.read_bytes())


def test_new_pictures(place: Path, led: Running) -> None:
    made = []
    for number in range(2):
        body = {**BODY, "images": [text(place / f"{number}.png")]}
        answer = httpx.post(f"{led.url}/v1/images/generations", json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        made.append(levels(base64.b64decode(answer.json()["data"][0]["b64_json"])))
        torch.testing.assert_close(made[-1], wanted(place, number, size=16), rtol=0, atol=1)
    assert (made[0] - made[1]).abs().max() > 2


def test_edits_and_jobs(place: Path, led: Running) -> None:
    source, style = (place / f"{k}.png" for k in range(2))
    form = {"prompt": "a red apple", "seed": "3", "steps": "2", "strength": "0.9"}
    files = [("image", source.read_bytes()), ("images[]", style.read_bytes())]
    answer = httpx.post(f"{led.url}/v1/images/edits", data=form, files=files, timeout=30)
    assert answer.status_code == 200, answer.text
    edit = EditRequest(source, strength=0.9)
    made = levels(base64.b64decode(answer.json()["data"][0]["b64_json"]))
    torch.testing.assert_close(made, wanted(place, 1, edit=edit), rtol=0, atol=1)
    job = httpx.post(f"{led.url}/v1/jobs", json={**BODY, "images": [f"data:image/png;base64,{text(style)}"]})
    assert job.status_code == 201, job.text
    name = job.json()["id"]
    httpx.get(f"{led.url}/v1/jobs/{name}/events", timeout=30)
    done = httpx.get(f"{led.url}/v1/jobs/{name}").json()
    assert done["status"] == "completed" and "images" not in str(done["request"])
    made = levels(httpx.get(done["data"][0]["url"]).content)
    torch.testing.assert_close(made, wanted(place, 1, size=16), rtol=0, atol=1)


@pytest.mark.parametrize(
    ("images", "status", "said"),
    [
        (None, 400, "images: there is no picture for adapter 1 (ip_adapter)"),
        (["aGk="], 415, "images: it is of no known format"),
        (["/etc/passwd"], 400, "images: not base64"),
        (["http://10.0.0.1/x.png"], 400, "images: addresses are not fetched"),
        ("PICTURE", 400, "images"),
        (["PICTURE", "PICTURE"], 400, "images: 2 pictures are not allowed. Allowed: up to 1"),
    ],
)
def test_wrong_pictures(images: Any, status: int, said: str, place: Path, led: Running) -> None:
    one = text(place / "0.png")
    if isinstance(images, list):
        images = [one if name == "PICTURE" else name for name in images]
    body = BODY if images is None else {**BODY, "images": images}
    answer = httpx.post(f"{led.url}/v1/images/generations", json=body, timeout=30)
    assert (answer.status_code, said in answer.json()["error"]["message"]) == (status, True), answer.text


def test_models_say_what_leads_them(led: Running) -> None:
    (row,) = httpx.get(f"{led.url}/v1/models").json()["data"]
    assert row["adapters"] == [{"name": "ip_adapter", "image": False}]
