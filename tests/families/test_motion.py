"""Motion modules beside a network of pictures: one that makes videos, without a merged one on disk."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import multigen
from multigen import Request
from multigen.cli.main import main
from multigen.core import Noise
from multigen.errors import MultigenError
from multigen.modalities.video import Video
from multigen.model.diffusers import animated, recipe_of
from multigen.model.model import Model
from multigen.model.source import named
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import override_recipe, parse_recipe
from multigen.runs import jobs as runs
from multigen.runs.opened import open_model
from tests.families import folders, moving
from tests.families.folders import edit
from tests.families.test_families import PROMPTS, SEED, STEPS, close, latents
from tests.families.tuning import tuning

import diffusers  # isort: skip  # after tests.families, which makes torchaudio importable

SIZE, SHAPE = 16, (4, 5, 8, 8)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    place = tmp_path_factory.mktemp("motion")
    return folders.stable_diffusion(place / "pictures"), moving.loose_motion(place / "motion")


def small(recipe: multigen.recipe.schema.Recipe) -> multigen.recipe.schema.Recipe:
    modality = dataclasses.replace(recipe.modality, args={**recipe.modality.args, "size": SIZE, "frames": 5})
    return dataclasses.replace(recipe, modality=modality)


def asked(k: int) -> Request:
    return Request(PROMPTS[k], steps=STEPS, size=SIZE, duration=5 / 8, seed=SEED + k)


def test_latents_are_those_of_the_pipeline_that_joins_them(places: tuple[Path, Path]) -> None:
    pictures, motion = places
    model = Model(small(recipe_of(str(pictures), motion=str(motion))), device="cpu")
    adapter = diffusers.MotionAdapter.from_pretrained(motion)
    scheduler = diffusers.DDIMScheduler.from_pretrained(
        pictures, subfolder="scheduler", clip_sample=False, beta_schedule="linear", steps_offset=1
    )
    pipe = diffusers.AnimateDiffPipeline.from_pretrained(
        pictures, motion_adapter=adapter, scheduler=scheduler, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    ours = latents(model, [asked(0), asked(1)])
    sigma = float(model.denoiser.schedule(model.batcher([asked(0)]).jobs[0].plan.ts[:1]).sigma)
    start = Noise([SEED, SEED + 1], SHAPE)("start") * sigma
    theirs = moving.video_latents(pipe, start, STEPS)
    close(ours, theirs)


def test_its_recipe_goes_with_itself(places: tuple[Path, Path]) -> None:
    pictures, motion = places
    recipe = recipe_of(str(pictures), motion=str(motion))
    assert named(parse_recipe(to_yaml(recipe), "here"), "here").recipe == recipe


def test_a_pipeline_may_list_them_beside_a_network_of_pictures(tmp_path: Path) -> None:
    """What diffusers joins when it loads the folder."""
    folder = moving.animatediff(tmp_path / "pipeline")
    whole = Model(small(recipe_of(str(folder))), device="cpu")
    shutil.rmtree(folder / "unet")
    network: torch.nn.Module = folders.unet()
    network.load_state_dict(whole.denoiser.backbone.network.state_dict(), strict=False)
    network.save_pretrained(folder / "unet", safe_serialization=True)
    edit(folder / "model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"]})
    adapter = moving.motion_modules()
    adapter.load_state_dict(whole.denoiser.backbone.network.state_dict(), strict=False)
    adapter.save_pretrained(folder / "motion_adapter", safe_serialization=True)
    joined = Model(small(recipe_of(str(folder))), device="cpu")
    torch.testing.assert_close(
        joined.denoiser.backbone.network.state_dict(), whole.denoiser.backbone.network.state_dict()
    )


def test_what_does_not_go_together(places: tuple[Path, Path], tmp_path: Path) -> None:
    pictures, motion = places
    with pytest.raises(ValueError, match="no such folder. Give one in diffusers' format, of a MotionAdapter"):
        recipe_of(str(pictures), motion=str(tmp_path / "nowhere"))
    with pytest.raises(
        MultigenError, match="its class: 'UNet2DConditionModel' is not allowed. Allowed: Motion"
    ):
        recipe_of(str(pictures), motion=str(pictures / "unet"))
    xl = folders.stable_diffusion_xl(tmp_path / "xl")
    with pytest.raises(
        MultigenError, match="with a motion adapter: 'StableDiffusionXLPipeline' is not allowed"
    ):
        recipe_of(str(xl), motion=str(motion))
    other = tmp_path / "other"
    moving.motion_modules(block_out_channels=(32, 64, 64)).save_pretrained(other, safe_serialization=True)
    with pytest.raises(MultigenError, match="these motion modules are of another network than"):
        Model(small(recipe_of(str(pictures), motion=str(other))), device="cpu")
    folder = moving.animatediff(tmp_path / "pipeline")
    edit(folder / "model_index.json", {"unet": ["diffusers", "UNet2DConditionModel"], "motion_adapter": None})
    with pytest.raises(MultigenError, match="makes pictures, and no motion_adapter is listed beside it"):
        recipe_of(str(folder))


def test_frames_that_the_modules_have_no_places_for(places: tuple[Path, Path]) -> None:
    recipe = recipe_of(str(places[0]), motion=str(places[1]))
    modality = dataclasses.replace(recipe.modality, args={**recipe.modality.args, "size": SIZE, "frames": 8})
    model = Model(dataclasses.replace(recipe, modality=modality), device="cpu")
    with pytest.raises(MultigenError, match="8 frames are not allowed. Allowed: up to 6"):
        model.generate("", steps=1)


# --- as adapters ----------------------------------------------------------------------------------------------------


def test_the_command_line_puts_them_into_a_network(
    places: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapters = f"adapters=[{{name: motion_adapter, path: {places[1]}}}]"
    asked = [adapters, "--prompt", "a red apple", "--duration", "0.5", "--steps", "2", "--seed", "3"]
    fast = ["sample.suffix=.webp", "sample.n=1", "--out", "out", "--quiet", "--device", "cpu"]
    assert main(["sample", str(places[0]), *asked, *fast]) == 0
    (made,) = Path("out/media").glob("*.webp")
    assert Video(fps=8.0).read(made).shape == (3, 4, SIZE, SIZE)


@pytest.mark.parametrize("adapter", ["null", "{name: lora, rank: 2}"])
def test_they_go_with_what_was_trained_on_pictures(
    adapter: str, places: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures, motion = places
    asked = [f"train.adapter={adapter}", f"adapters=[{{name: motion_adapter, path: {motion}}}]"]
    asked += [
        "sample.duration=0.5",
        "sample.suffix=.webp",
        "sample.n=1",
        "sample.steps=1",
        "sample.prompts=[a cat]",
    ]
    recipe = tuning("stable diffusion 1", pictures, tmp_path / "data", *asked)
    for _ in range(2):  # the second time everything is there
        folder = runs.run(recipe, out=tmp_path / "run", device="cpu", quiet=True)
        (made,) = (folder / "media").glob("*.webp")
        assert Video(fps=8.0).read(made).shape == (3, 4, SIZE, SIZE)
    assert not list(folder.glob("media-*"))
    model = multigen.load(folder, device="cpu")
    assert model.modality.name == "video" and "other weights" not in caplog.text
    state = model.state_dict()
    assert any("motion_modules" in name for name in state)
    if adapter == "null":
        learned = load_file(folder / "weights.safetensors")
        assert learned and all(torch.equal(state[name], tensor) for name, tensor in learned.items())
    else:
        assert model.loras.own is not None


@pytest.mark.parametrize(
    ("source", "adapters", "words"),
    [
        (None, "[{name: motion_adapter, path: M, weight: 0.5}]", "Allowed: one {name: motion_adapter, path"),
        (None, "[{name: motion_adapter, path: M}, {name: motion_adapter, path: M}]", "Allowed: one {name"),
        (None, "[{name: motion_adapter, path: nowhere}]", "motion: nowhere: no such folder"),
        (None, "[{path: M}]", "MotionAdapter is not allowed. Allowed: ControlNetModel"),
        ("image_digits", "[{name: motion_adapter, path: M}]", "goes with a pipeline of Stable Diffusion 1.x"),
    ],
)
def test_wrong_adapters(source: str | None, adapters: str, words: str, places: tuple[Path, Path]) -> None:
    with pytest.raises((MultigenError, ValueError), match=words):
        open_model(source or str(places[0]), [f"adapters={adapters.replace('M', str(places[1]))}"], "cpu")


def test_how_parts_are_held_and_sampled_stays(places: tuple[Path, Path]) -> None:
    pictures, motion = places
    recipe = recipe_of(str(pictures))
    changed = override_recipe(
        recipe,
        [
            f"adapters=[{{name: motion_adapter, path: {motion}}}]",
            "backbone.dtype=bf16",
            "codec.tiling=true",
            "modifiers=[{name: rescale}]",
        ],
    )
    moving_one = animated(changed)
    assert moving_one.codec.name == "frame_vae" and moving_one.codec.args["tiling"] is True
    assert moving_one.network.args["dtype"] == "bf16" and moving_one.network.args["motion"] == str(motion)
    assert [one.name for one in moving_one.modifiers] == ["rescale"]
    usual = animated(override_recipe(recipe, [f"adapters=[{{name: motion_adapter, path: {motion}}}]"]))
    assert usual.modifiers == recipe_of(str(pictures), motion=str(motion)).modifiers
