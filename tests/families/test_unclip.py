"""Cascades of priors and decoders: variations of pictures, the way from one to another, files, and what is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

import multigen
from multigen import Request
from multigen.cli.main import main
from multigen.core.edits import slerp
from multigen.errors import MultigenError, RecipeError
from multigen.families import open_family
from multigen.families.embeddings import TOLD
from multigen.generation.plan import jobs
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.sampling import sampling_recipe
from multigen.registry import Part
from multigen.runs.checks import check_source
from multigen.serving.engine.memory import Costs
from tests.backbones.test_ip_adapter import picture
from tests.families import folders, unclip
from tests.families.test_families import close, latents

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable

STEPS = 5


def model_of(folder: Path, *overrides: str) -> Model:
    found = find(folder)
    return Model.of(found, sampling_recipe(found.recipe, overrides), device="cpu")


@pytest.fixture(scope="module")
def kandinsky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The decoder; `prior` stands beside it."""
    return folders.kandinsky(tmp_path_factory.mktemp("kandinsky") / "decoder")


@pytest.fixture(scope="module")
def whole(kandinsky: Path) -> Model:
    return model_of(kandinsky, f"stages=[{kandinsky.with_name('prior')}]")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pictures")
    return [picture(folder / f"{k}.png", k) for k in range(2)]


def test_a_variation_is_that_of_the_pipeline(kandinsky: Path, whole: Model, pictures: list[str]) -> None:
    first = d.KandinskyV22PriorPipeline.from_pretrained(kandinsky.with_name("prior"))
    pipe = d.KandinskyV22Pipeline.from_pretrained(kandinsky)
    pixels = first.image_processor([Image.open(path) for path in pictures], return_tensors="pt").pixel_values
    with torch.no_grad():
        said = first.image_encoder(pixels).image_embeds
    start = unclip.noise((4, 8, 8), "stage 1 start") * unclip._sigma(pipe)
    options: dict[str, Any] = {
        "height": 16,
        "width": 16,
        "num_inference_steps": STEPS,
        "output_type": "latent",
    }
    other = pipe(said, first.get_zero_embed(2), latents=start, **options).images
    requests = [Request(images=[path], seed=7 + k, steps=STEPS, size=16) for k, path in enumerate(pictures)]
    ours = latents(whole, requests)
    close(ours, other, 1e-3)
    assert (ours - latents(whole, [Request("a red apple", seed=7, steps=STEPS, size=16)])).abs().max() > 0.05


@pytest.mark.parametrize("offload", ["components", "sequential"])
def test_memory_is_shared_with_the_stages_before(offload: str, kandinsky: Path, whole: Model) -> None:
    """Their networks take turns with this one's, and make the same."""
    asked = Request("a red apple", steps=2, size=16, seed=3)
    model = model_of(kandinsky, f"stages=[{kandinsky.with_name('prior')}]", f"sample.offload={offload}")
    (wanted,), (made,) = latents(whole, [asked]), latents(model, [asked])
    torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)
    before = model.former
    assert before is not None and before.recipe.sample.offload == offload
    assert before._built.turns is model._built.turns is not None


def test_noise_on_the_embedding_of_a_picture(tmp_path: Path, pictures: list[str]) -> None:
    """As the pipeline draws it, at two levels."""
    folder = folders.stable_unclip_variation(tmp_path / "pipeline")
    pipe = d.StableUnCLIPImg2ImgPipeline.from_pretrained(folder)
    start = unclip.noise((4, 8, 8), "stage 1 start") * unclip._sigma(pipe)
    level = unclip.noise((32,), "stage 1 condition")
    name = "diffusers.pipelines.stable_diffusion.pipeline_stable_unclip_img2img.randn_tensor"
    made = []
    for noise in (0, 300):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(name, lambda *_, **__: level)
            other = pipe(
                [Image.open(path) for path in pictures], list(unclip.PROMPTS), latents=start, noise_level=noise,
                num_inference_steps=STEPS, output_type="latent", height=16, width=16,
            ).images  # fmt: skip
        model = model_of(folder, f"cascade.level={noise}")
        requests = [
            Request(prompt, images=[path], seed=7 + k, steps=STEPS, size=16)
            for k, (prompt, path) in enumerate(zip(unclip.PROMPTS, pictures, strict=True))
        ]
        made.append(latents(model, requests))
        close(made[-1], other, 1e-3)
    assert (made[0] - made[1]).abs().max() > 0.01


def test_the_way_from_one_picture_to_another(whole: Model, pictures: list[str]) -> None:
    """The ends are the variations; between them the embeddings go along an arc."""
    ends = [Request(images=[path], seed=3, steps=3, size=16) for path in pictures]
    heard: list[Tensor] = []
    network = whole.denoiser.backbone
    forward = type(network).forward

    def watched(self: Any, x: Tensor, c_noise: Tensor, cond: Any, *rest: Any) -> Tensor:
        if TOLD in cond.extra:
            heard.append(cond.extra[TOLD][0].clone())
        return forward(self, x, c_noise, cond, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(network), "forward", watched)
        way = whole.blend((ends[0], ends[1]), n=3, batch=1)
    alone = [next(iter(whole.stream([end]))) for end in ends]
    for made, one in ((way[0], alone[0]), (way[2], alone[1])):
        close(made.tensor, one.tensor, 1e-3)
    assert (way[1].tensor - way[0].tensor).abs().max() > 1e-3
    said: Any = sorted({tuple(row.tolist()) for row in heard}, key=lambda row: heard_at(heard, row))
    first, between, last = (torch.tensor(row) for row in said)
    torch.testing.assert_close(between, slerp(first, last, 0.5), rtol=1e-4, atol=1e-5)
    with pytest.raises(MultigenError, match="may differ by prompt and seed alone"):
        whole.blend((ends[0], Request("red", seed=3, steps=3, size=16)), n=3)


def heard_at(heard: list[Tensor], row: tuple[float, ...]) -> int:
    return next(k for k, one in enumerate(heard) if tuple(one.tolist()) == row)


def test_one_command_and_one_manifest(kandinsky: Path, pictures: list[str], tmp_path: Path) -> None:
    prior, out = kandinsky.with_name("prior"), tmp_path / "made"
    line = ["sample", str(kandinsky), "--prompt", "red apple", "-n", "2", "--steps", "2", "--out", str(out)]
    assert main([*line, f"stages=[{prior}]"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert len(list((out / "media").glob("*.png"))) == 2
    assert [row["recipe"] for row in manifest["files"][0]["stages"]] == ["prior"]
    two = ["--image", pictures[0], "--image", pictures[1], "--blend", "3"]
    for count, more in ((1, ["--image", pictures[0], "-n", "1"]), (3, two)):
        there = tmp_path / f"pictures{count}"
        base = ["sample", str(kandinsky), "--steps", "2", "--out", str(there), f"stages=[{prior}]"]
        assert main([*base, "--prompt", "", *more]) == 0
        assert len(list((there / "media").glob("*.png"))) == count


def test_a_prior_alone_writes_embeddings(kandinsky: Path, pictures: list[str], tmp_path: Path) -> None:
    model = multigen.load(kandinsky.with_name("prior"), device="cpu")
    (made,) = model.generate("red apple", steps=2)
    made.save(tmp_path / "red.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "red.safetensors")["image_embeds"][0], made.tensor[:, 0])
    torch.testing.assert_close(model.modality.read(tmp_path / "red.safetensors"), made.tensor)
    assert model.modality.read(Path(pictures[0])).shape == (32, 1)
    assert model.modality.preview([made.tensor]).size == (32, 8)
    line = ["sample", str(kandinsky.with_name("prior")), "--prompt", "red", "-n", "1", "--steps", "1"]
    assert main([*line, "--out", str(tmp_path / "made")]) == 0
    (file,) = (tmp_path / "made" / "media").glob("*.safetensors")
    assert load_file(file)["image_embeds"].shape == (1, 32)
    with pytest.raises(MultigenError, match="no such file|cannot|not a readable"):
        model.modality.read(tmp_path / "gone.safetensors")


def test_pictures_pass_down_to_the_stage_that_draws_them(tmp_path: Path, pictures: list[str]) -> None:
    """An image encoder in the folder of unCLIP; its upscaler takes none, and is told no level."""
    folder = folders.unclip(tmp_path / "unclip")
    folders.vision().save_pretrained(folder / "image_encoder")
    folders.edit(
        folder / "model_index.json", {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}
    )
    model = multigen.load(folder, device="cpu")
    assert [Path(stage).name for stage in model.recipe.stages] == ["prior", "decoder"]
    requests = [Request("red", images=[path], steps=3, seed=3) for path in pictures]
    one, other = (made.tensor for made in model.stream(requests))
    assert one.shape == (3, 16, 16) and (one - other).abs().max() > 1e-3
    (larger,) = model.edit(torch.zeros(3, 8, 8), steps=2)
    assert larger.tensor.shape == (3, 16, 16)


def test_an_embedding_is_not_edited(kandinsky: Path, pictures: list[str]) -> None:
    prior = model_of(kandinsky.with_name("prior"))
    with pytest.raises(
        MultigenError, match="prior: it makes media of the kind embedding, which are not edited"
    ):
        prior.edit(pictures[0], "a red apple", steps=1)


def test_what_does_not_go_together_is_refused(kandinsky: Path, whole: Model, tmp_path: Path) -> None:
    with pytest.raises(
        MultigenError, match=r"draws what an embedding says. Name the prior .*, or give a picture"
    ):
        model_of(kandinsky).generate("red", steps=1)
    with pytest.raises(
        MultigenError, match="Kandinsky 2.2 has no image encoder here. Name a prior that has one"
    ):
        list(model_of(kandinsky).stream([Request(images=["a.png"])]))
    other = folders.prior_of(24)(tmp_path / "other")
    with pytest.raises(
        RecipeError, match="prior is of another family: its embeddings have 24 numbers, .* takes 32"
    ):
        model_of(kandinsky, f"stages=[{other}]").generate("red", steps=1)
    pixels = folders.unconditional(tmp_path / "pixels")
    with pytest.raises(
        RecipeError, match="stages: it makes image; Kandinsky 2.2 takes embeddings of a prior"
    ):
        model_of(kandinsky, f"stages=[{pixels}]").generate("", steps=1)
    with pytest.raises(
        MultigenError, match="images: 2 pictures are not allowed. Allowed: one, whose embedding"
    ):
        list(whole.stream([Request(images=["a.png", "b.png"])]))
    with pytest.raises(MultigenError, match="gone.png"):
        list(whole.stream([Request(images=["gone.png"])]))
    with pytest.raises(MultigenError, match="cascade.level: 5 is not allowed. Allowed: 0, for Kandinsky 2.2"):
        model_of(kandinsky, f"stages=[{kandinsky.with_name('prior')}]", "cascade.level=5").generate(
            "", steps=1
        )
    folder = folders.unclip(tmp_path / "unclip")
    with pytest.raises(MultigenError, match="'UnCLIPPipeline/super_res_last' is not allowed"):
        open_family(folder / "super_res_last")
    recipe = find(kandinsky).recipe
    with pytest.raises(RecipeError, match="the network of unconditional diffusion is told no embedding"):
        Model(dataclasses.replace(recipe, cascade=Part("embedding", {"path": str(pixels)})), device="cpu")


def test_a_network_that_is_told_an_embedding_is_measured_for_a_server(tmp_path: Path) -> None:
    folder = folders.unclip(tmp_path / "unclip" / "pipeline")
    model = multigen.load(f"{folder}/decoder", device="cpu")
    (job,) = jobs(model, [Request("a red apple", size=16)], 1, 0)
    assert Costs(model).of(job) > 0


def test_a_stage_is_a_source_on_the_command_line(tmp_path: Path) -> None:
    folder = folders.unclip(tmp_path / "unclip" / "pipeline")
    assert check_source(str(folder / "prior")) is None
    with pytest.raises(MultigenError, match="not a run folder"):
        check_source(str(folder / "tokenizer"))
