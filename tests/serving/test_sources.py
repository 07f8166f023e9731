"""What can be served: run folders, LoRAs, weights files and pipelines of diffusers, each as in Python."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import multigen
from multigen.errors import MultigenError
from multigen.modalities.raster import to_levels
from multigen.recipe.load import load_recipe
from multigen.runs import jobs as runs
from multigen.serving.engine.models import Models
from multigen.serving.run import loras_in
from tests.model.pipelines import edit, tiny_pipeline
from tests.serving.servers import Running, running
from tests.storage.test_lora import NETWORK, SMALL, pictures, tuning

IDS = ("mine", "early", "tuned", "file", "sd")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/ was trained, early/ is being trained, tuned/ is a LoRA on base/, sd/ a pipeline, and a weights file."""
    home = tmp_path_factory.mktemp("sources")
    pictures(home / "pictures")
    options = [
        *SMALL,
        *NETWORK,
        f"data.path={home / 'pictures'}",
        "train.steps=2",
        "train.checkpoint_every=1",
    ]
    for name in ("base", "early"):
        runs.train(load_recipe("image_folder", options), out=home / name, device="cpu", quiet=True)
    (home / "early" / "weights.safetensors").unlink()  # as before the end: there are checkpoints alone
    runs.train(tuning(home), out=home / "tuned", device="cpu", quiet=True)
    multigen.load(home / "base", device="cpu").save(home / "file.safetensors")
    tiny_pipeline(home / "sd")
    return home


def sources(home: Path) -> dict[str, str]:
    return {
        "mine": str(home / "base"),
        "early": str(home / "early"),
        "tuned": str(home / "tuned"),
        "file": str(home / "file.safetensors"),
        "sd": str(home / "sd"),
    }


@pytest.fixture(scope="module")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(sources(home), tmp_path_factory.mktemp("store"), loras=loras_in(home)) as one:
        yield one


def made(served: Running, name: str, prompt: str, **more: Any) -> np.ndarray:
    with served.client() as client:
        answer = client.images.generate(prompt=prompt, model=name, extra_body={"seed": 3, "steps": 2, **more})
    assert answer.data is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json or "")))).astype(int)


@pytest.mark.parametrize("name", IDS)
def test_what_is_served_makes_what_python_makes(served: Running, home: Path, name: str) -> None:
    prompt = "a red apple" if name == "sd" else ""
    model = multigen.load(sources(home)[name], device="cpu")
    (expected,) = model.generate(prompt, seed=3, steps=2)
    found = made(served, name, prompt)
    assert np.abs(found - to_levels(expected.tensor).astype(int)).max() <= 1
    # What was told of its weights before they were read is what they take, here with a LoRA's or the frozen parts.
    one = served.server.models.served[name]
    taken = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert taken <= one.size <= taken * (1.3 if name in ("tuned", "sd") else 1)


def test_a_run_of_a_lora_is_a_lora_of_requests_too(served: Running, home: Path) -> None:
    assert set(served.server.models.loras) == {"base", "early", "tuned", "file"}
    with_it = made(served, "mine", "", loras=[{"name": "tuned"}])
    assert np.abs(with_it - made(served, "tuned", "")).max() <= 1
    assert np.abs(with_it - made(served, "mine", "")).max() > 1


def test_edits_and_streams_of_a_pipeline(served: Running) -> None:
    with served.client() as client:
        first = made(served, "sd", "blue car")
        file = io.BytesIO()
        Image.fromarray(first.astype(np.uint8)).save(file, format="PNG")
        edited = client.images.edit(
            image=("a.png", file.getvalue()), model="sd", prompt="a red apple", n=2,
            extra_body={"steps": 2, "strength": 0.6, "seed": 1},
        )  # fmt: skip
        assert edited.data is not None and len(edited.data) == 2
        stream = client.images.generate(
            prompt="blue car", model="sd", stream=True, partial_images=1, extra_body={"steps": 2}
        )
        assert [event.type for event in stream][-1] == "image_generation.completed"
        (row,) = [row for row in client.models.list() if row.id == "sd"]
    assert row.model_extra is not None and row.model_extra["modality"] == "image"


def test_sources_that_are_none_are_refused_before_the_start(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    tiny_pipeline(tmp_path / "other")
    edit(tmp_path / "other" / "model_index.json", {"_class_name": "FluxPipeline"})
    (tmp_path / "broken.safetensors").write_bytes(b"none")
    for name, said in (
        ("empty", "empty"), ("other", "FluxPipeline"), ("broken.safetensors", "broken"), ("none", "none"),
    ):  # fmt: skip
        with pytest.raises(MultigenError, match=said):
            Models({"a": str(tmp_path / name)})
