"""Videos of pictures: what is shown and heard of them, the command line, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.families.ltx_condition import _lone
from multigen.families.pictures import PictureEncoder, blurred_to
from multigen.families.wan_image import WanImage
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.load import override_recipe
from multigen.registry import Part
from multigen.runs.trainer import build_task
from tests.families import begun
from tests.families.folders import edit

import transformers  # isort: skip  # after tests.families.folders, which makes torchaudio importable

SIDE = 16
FIRST, LAST = begun.picture(SIDE), begun.picture(SIDE, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begun.wan_image(tmp_path_factory.mktemp("wan") / "pipeline")


def of(folder: Path) -> Model:
    found = find(folder)
    modality = Part("video", {**found.recipe.modality.args, "size": SIDE, "frames": begun.FRAMES})
    return Model.of(found, dataclasses.replace(found.recipe, modality=modality), device="cpu")


@pytest.fixture(scope="module")
def wan(folder: Path) -> Model:
    return of(folder)


def test_a_picture_becomes_a_video_on_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image().write(FIRST, Path("first.png"))
    Image().write(LAST, Path("last.png"))
    monkeypatch.setattr(WanImage, "size", (SIDE, SIDE))
    monkeypatch.setattr(WanImage, "frames", begun.FRAMES)
    asked = ["--input", "first.png", "--extend", "4f", "--last", "last.png", "--prompt", "a red apple"]
    fast = ["--steps", "2", "--out", "out", "--quiet", "--device", "cpu"]
    assert main(["edit", str(folder), "sample.suffix=.webp", *asked, *fast]) == 0
    (made,) = Path("out/media").glob("*.webp")
    video = Video(fps=16.0).read(made)
    assert video.shape == (3, 5, SIDE, SIDE)


def test_first_and_last_frame_stay_and_lead(wan: Model) -> None:
    options: dict[str, Any] = {"extend": [0, 0, 0, 0, 0, 4], "steps": 2, "seed": 1}
    (alone,) = wan.edit(FIRST[:, None], "a red apple", **options)
    (both,) = wan.edit(FIRST[:, None], "a red apple", last=LAST, **options)
    assert torch.equal(both.tensor[:, 0], FIRST) and torch.equal(both.tensor[:, -1], LAST)
    assert torch.equal(alone.tensor[:, 0], FIRST)
    assert (both.tensor - alone.tensor)[:, 1:-1].abs().max() > 0.01
    (other,) = wan.edit(LAST[:, None], "a red apple", **options)
    assert (other.tensor - alone.tensor)[:, 1:].abs().mean() > 0.01


def test_frames_that_no_latent_holds_alone() -> None:
    """The ends of each run; a latent holds the first frame, or four others."""
    for known, wanted in {
        "100010001": [4, 8],
        "111110011": [7, 8],
        "100001111": [],
        "000011100": [4, 6],
    }.items():
        assert _lone(torch.tensor([c == "1" for c in known]), 4) == wanted


def test_a_wider_picture_is_cropped(wan: Model) -> None:
    wide = torch.nn.functional.pad(FIRST, (3, 5))
    (made,) = wan.edit(wide[:, None], extend=[0, 0, 0, 0, 0, 4], steps=1, fit="crop", last=LAST)
    assert made.tensor.shape == (3, 5, SIDE, SIDE)
    assert torch.equal(made.tensor[:, 0], wide[..., 4 : 4 + SIDE])


def test_the_last_frame_is_shown_as_one_of_four(wan: Model) -> None:
    keep = torch.tensor([True, False, False, False, True])[:, None, None].expand(-1, SIDE, SIDE)
    shown = wan.codec.shown_mask(keep)
    assert shown.shape == (4, 2, 4, 4)
    assert shown.amax((2, 3)).tolist() == [[1, 0], [1, 0], [1, 0], [1, 1]]
    assert torch.equal(shown.amin((2, 3)), shown.amax((2, 3)))


def test_a_clip_goes_on_from_its_frames(wan: Model) -> None:
    clip = torch.stack([FIRST, FIRST, FIRST], 1)
    (made,) = wan.edit(clip, "", extend=[0, 0, 0, 0, 0, 2], steps=2)
    assert torch.equal(made.tensor[:, :3], clip)


@pytest.mark.parametrize(
    ("media", "options", "words"),
    [
        (FIRST[:, None], {}, r"makes what follows a first frame; say how much: 4f"),
        (
            FIRST[:, None],
            {"extend": [0, 0, 0, 0, 4, 0]},
            r"keep: .* all of the first frame must stay",
        ),
        (FIRST[:, None], {"extend": [0, 0, 0, 0, 0, 12]}, "makes up to 5 frames .* extend what it made"),
        (FIRST[:, None], {"last": LAST}, "last: the video has one frame"),
        (torch.stack([FIRST, FIRST], 1), {"last": LAST[0]}, r"last: shape \(16, 16\) is not allowed"),
    ],
)
def test_what_has_no_picture_to_begin_with(
    media: Tensor, options: dict[str, Any], words: str, wan: Model
) -> None:
    with pytest.raises(MultigenError, match=words):
        wan.edit(media, "", steps=2, **options)


def test_a_picture_is_missing(wan: Model) -> None:
    with pytest.raises(
        MultigenError, match=r"there is none; give it: multigen edit MODEL --input PICTURE --ext"
    ):
        wan.generate("a red apple", steps=2)


def test_a_last_frame_is_for_videos() -> None:
    digits = multigen.load("image_digits", device="cpu")
    with pytest.raises(MultigenError, match="last: it goes with videos, not with the modality image"):
        digits.edit(torch.zeros(1, 28, 28), "3", last=torch.zeros(1, 28, 28))


@pytest.mark.parametrize(
    ("make", "part", "words"),
    [
        (begun.wan_image, "image_encoder", "hears pictures .image_dim., so it needs an image_encoder"),
        (
            begun.stable_video_diffusion,
            "feature_extractor",
            "lists no feature_extractor, which a StableVideo",
        ),
    ],
)
def test_a_component_is_missing(make: Callable[[Path], Path], part: str, words: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "pipeline")
    edit(folder / "model_index.json", {part: [None, None]})
    with pytest.raises(MultigenError, match=words):
        multigen.load(folder, device="cpu")


def test_a_last_frame_alone_does_not_lead_latents_of_several(tmp_path: Path) -> None:
    model = of(begun.wan_each_token(tmp_path / "pipeline"))
    options: dict[str, Any] = {"extend": [0, 0, 0, 0, 0, 4], "steps": 2}
    with pytest.raises(MultigenError, match="last: a latent of .* holds several frames"):
        model.edit(FIRST[:, None], "", last=LAST, **options)


def test_a_network_of_both_ends_needs_both(tmp_path: Path) -> None:
    model = of(begun.wan_both_ends(tmp_path / "pipeline"))
    with pytest.raises(MultigenError, match="hears a first and a last frame: give the last one, too"):
        model.edit(FIRST[:, None], "", extend=[0, 0, 0, 0, 0, 4], steps=2)


def test_stable_video_diffusion_follows_no_prompt(tmp_path: Path) -> None:
    model = of(begun.stable_video_diffusion(tmp_path / "pipeline"))
    with pytest.raises(MultigenError, match="cannot follow a prompt"):
        model.edit(FIRST[:, None], "a red apple", extend=[0, 0, 0, 0, 0, 4], steps=2)


def test_noise_on_the_picture_is_the_number_that_is_told(tmp_path: Path) -> None:
    folder = begun.stable_video_diffusion(tmp_path / "pipeline")
    recipe = of(folder).recipe
    options: dict[str, Any] = {"extend": [0, 0, 0, 0, 0, 4], "steps": 2, "seed": 1}
    made = []
    for noise in (0.0, 0.02, 0.5):
        changed = override_recipe(recipe, [f"conditioner.numbers={{noise: {noise}}}"])
        model = Model.of(find(folder), changed, device="cpu")
        assert model.conditioner.known_noise == noise
        made.append(model.edit(FIRST[:, None], "", **options)[0].tensor)
    assert 1e-4 < (made[1] - made[0]).abs().max() < (made[2] - made[0]).abs().max()


def test_a_network_of_pictures_is_not_trained(wan: Model) -> None:
    with pytest.raises(RecipeError, match="its network begins with a picture, and such networks are not"):
        build_task(wan, cast(Any, None))


# --- what CLIP sees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [(40, 72), (64, 33), (16, 16)])
def test_pictures_are_prepared_as_clip_s_processor_does(sides: tuple[int, int], folder: Path) -> None:
    """Pillow rounds to whole levels, which differ by one here and there; of one level of 255 that is 0.015."""
    shape = torch.linspace(-1, 1, sides[0] * sides[1] * 3).reshape(3, *sides).sin()
    picture = ((shape + 1) * 127.5).round() / 127.5 - 1
    encoder = PictureEncoder(WanImage(folder=folder), "image_encoder", "image_processor")
    theirs = transformers.CLIPImageProcessor.from_pretrained(folder / "image_processor")
    wanted = theirs(images=begun.pillow(picture), return_tensors="pt").pixel_values
    torch.testing.assert_close(encoder.prepared(picture[None]), wanted, rtol=0, atol=0.04)


@pytest.mark.parametrize("sides", [(300, 500), (100, 120)])
def test_the_blur_is_that_of_the_pipeline(sides: tuple[int, int]) -> None:
    from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as pipeline

    picture = torch.rand(1, 3, *sides) * 2 - 1
    wanted = pipeline._resize_with_antialiasing(picture, (64, 64))
    torch.testing.assert_close(blurred_to(picture, 64), wanted, rtol=0, atol=1e-5)
