"""Exports: a file with all of a cascade, a graph for any runtime, a folder for diffusers; what each refuses."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.core.drive import solve
from multigen.core.guides import plain
from multigen.core.samplers import ddim
from multigen.errors import MultigenError
from multigen.model.blank import blank
from multigen.model.export import export
from multigen.model.export.pipeline import write_diffusers
from multigen.model.export.single_file import write_single_file
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from tests.families import folders
from tests.families.test_families import opened
from tests.generation.test_cascade import FIRST, NEXT
from tests.model.pipelines import tiny_pipeline

PLAIN = [
    "name=plain", "weights=null", "conditioner={name: none}", "guide={name: plain}", "sample.prompts=['']",
    "modality.size=16", "codec.unshuffle=1", "backbone.widths=[16,32]", "backbone.attention=[false,true]",
    "+backbone.groups=4",
    "schedule={name: cosine}", "prediction={name: v}", "train.objective={name: flat}",
]  # fmt: skip


def stirred(recipe: str, overrides: list[str]) -> Model:
    model = Model(load_recipe(recipe, overrides), device="cpu")
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    return model


# --- one file ----------------------------------------------------------------------------------------------------


def test_a_file_holds_the_stages_of_its_cascade(tmp_path: Path) -> None:
    model, first = stirred("image_digits", NEXT), stirred("image_digits", FIRST)
    model._former = first
    file = write_single_file(model, tmp_path / "whole.safetensors")
    again = multigen.load(file, device="cpu")
    assert again.recipe.stages == ("first",) and again.former is not None
    assert again.former.weights_hash() == first.weights_hash() != again.weights_hash() == model.weights_hash()
    (before,), (after,) = model.generate("3", seed=1), again.generate("3", seed=1)
    assert torch.equal(before.tensor, after.tensor)
    assert file.read_bytes() == write_single_file(again, tmp_path / "again.safetensors").read_bytes()
    half = write_single_file(model, tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.6 * file.stat().st_size
    # Weights to start from are the model's own.
    loaded = multigen.load(write_single_file(first, tmp_path / "first.safetensors"), device="cpu")
    assert loaded.recipe.stages == () and loaded.former is None
    from multigen.model.source import read_weights

    assert read_weights(file).keys() == model.state_dict().keys()


def test_other_stages_take_the_place_of_those_in_the_file(tmp_path: Path) -> None:
    model = stirred("image_digits", NEXT)
    model._former = stirred("image_digits", FIRST)
    file = write_single_file(model, tmp_path / "whole.safetensors")
    from multigen.runs.opened import open_model

    other = open_model(str(file), ["stages=[image_digits]"], "cpu")
    assert other.former is not None and other.former.recipe.name == "image_digits"


# --- refusals ----------------------------------------------------------------------------------------------------


def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.onnx").write_text("")
    (tmp_path / "there").mkdir()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for line, words in (
        (
            ["--to", "onxx"],
            "'onxx' is not allowed. Allowed: single-file, onnx, diffusers. Did you mean 'onnx'",
        ),
        (["x.onnx"], "x.onnx: --to single-file writes a .safetensors file. Did you mean --to onnx?"),
        (["x.safetensors", "--to", "diffusers"], "writes a folder. Did you mean --to single-file?"),
        (["there.onnx", "--to", "onnx"], "there.onnx: already exists; give another name"),
        (["there", "--to", "diffusers"], "there: already exists"),
        (["x.onnx", "--to", "onnx"], "export --to onnx needs the package onnx: "),
        (
            ["--to", "diffusers"],
            "image_digits: diffusers' UNet2DModel has not a vector in the noise embedding",
        ),
        (["x", "--to", "diffusers", "--half"], "--half: it goes with --to single-file"),
    ):
        assert main(["export", "image_digits", *line]) == 2
        said = capsys.readouterr().err.strip()
        assert words in said and "\n" not in said, said
    assert main(["export", "vocoder_music", "--to", "diffusers"]) == 2
    assert "it is a codec, which has no denoiser. Allowed: --to single-file" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there", "there.onnx"]
    with pytest.raises(MultigenError, match="--to: 'file' is not allowed"):
        multigen.export("image_digits", to="file")


def test_the_place_is_named_after_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert export("image_digits") == Path("image_digits.safetensors")
    model = multigen.load("image_digits.safetensors", device="cpu")
    assert model.weights_hash() == multigen.load("image_digits", device="cpu").weights_hash()


# --- diffusers ---------------------------------------------------------------------------------------------------


def test_a_tuned_pipeline_opens_in_diffusers_and_here(tmp_path: Path) -> None:
    import diffusers

    folder = tiny_pipeline(tmp_path / "tiny")
    (folder / "unet" / "old.bin").write_text("a pickle")
    model = multigen.load(folder, device="cpu")
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.backbone.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    made = write_diffusers(model, tmp_path / "tuned")
    assert {p.name for p in made.iterdir()} == {p.name for p in folder.iterdir()} and not list(
        made.rglob("*.bin")
    )
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(made, safety_checker=None)
    x, t, tokens = torch.randn(2, 4, 8, 8), torch.tensor([10, 700]), torch.randn(2, 5, 32)
    with torch.no_grad():
        wanted = model.denoiser.backbone.network(x, t, tokens).sample  # pyright: ignore[reportAttributeAccessIssue]
        assert torch.allclose(pipeline.unet(x, t, tokens).sample, wanted, atol=1e-4)
    again = multigen.load(made, device="cpu")
    (one,), (other,) = (m.generate("red apple", seed=1, steps=2, size=16) for m in (model, again))
    assert torch.allclose(one.tensor, other.tensor, atol=1e-4)
    (untuned,) = multigen.load(folder, device="cpu").generate("red apple", seed=1, steps=2, size=16)
    assert (untuned.tensor - one.tensor).abs().max() > 1e-3


def test_our_u_net_is_diffusers_unet2d_where_its_layers_are(tmp_path: Path) -> None:
    import diffusers

    model = stirred("image_digits", PLAIN)
    folder = write_diffusers(model, tmp_path / "plain")
    pipeline: Any = diffusers.DDIMPipeline.from_pretrained(folder)
    noise = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    backbone, indices = model.denoiser.backbone, torch.tensor([3, 900])
    with torch.no_grad():
        c_noise = model.denoiser.c_noise((indices.double() + 1) / 1000).float()
        wanted = backbone(noise, c_noise, model.conditioner.null(2))
        assert torch.allclose(pipeline.unet(noise, indices).sample, wanted, atol=1e-4)
    # Its scheduler takes the steps that ours takes.
    scheduler, x = pipeline.scheduler, noise
    scheduler.set_timesteps(5)
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(pipeline.unet(x, t).sample, t, x).prev_sample
    schedule, ts = model.denoiser.schedule, torch.tensor([*((scheduler.timesteps.double() + 1) / 1000), 0.0])
    null = model.conditioner.null(2)
    made = solve(ddim(schedule, noise, ts, lambda *_: noise), plain(null, null), model.denoiser)
    assert torch.allclose(made, x, atol=1e-3)


def test_what_differs_is_said(tmp_path: Path) -> None:
    for overrides, words in (
        (["codec.unshuffle=2"], "a codec"),
        (["schedule={name: flow}"], "the schedule flow for it"),
        (["prediction={name: edm}"], "the prediction edm for it"),
        (["backbone.groups=32"], r"several numbers of groups, 4, 8, 12, 16 \(groups=4\)"),
        (["+backbone.kernel=5"], "kernels of another width than 3"),
        (["+backbone.skip_scale=0.7"], "scaled residual sums"),
        (["masked=true"], "channels for a mask"),
    ):
        with pytest.raises(MultigenError, match=f"plain: diffusers' UNet2DModel has not .*{words}"):
            write_diffusers(stirred("image_digits", [*PLAIN, *overrides]), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


# --- ONNX --------------------------------------------------------------------------------------------------------

UNETS = {
    "image_emoji": ["modality.size=16", "backbone.widths=[16,16]", "backbone.attention=[false,true]"],
    "audio_music": ["backbone.widths=[16,16]", "backbone.attention=[false,true]", "modality.seconds=0.5",
                    "sample.duration=null"],
    "video_moving_emoji": ["backbone.widths=[16,16]", "backbone.attention=[false,true]", "modality.size=16",
                           "modality.frames=4"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", UNETS)
def test_a_graph_equals_the_network_at_any_size(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    ort = pytest.importorskip("onnxruntime")
    from multigen.model.export.onnx import write_onnx

    overrides = ["weights=null", "sample.prompts=[red apple]", "sample.steps=3", *UNETS[name]]
    model = stirred(name, [o for o in overrides if name != "audio_music" or "apple" not in o])
    file = write_onnx(model, tmp_path / "x.onnx")
    session = ort.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    natural = json.loads(facts["shape"])
    assert len(json.loads(facts["grid"])) == 4 and "" in json.loads(facts["conditions"])
    # A size that neither the trace nor its own check saw.
    size = [n + 6 for n in natural[1:]]
    t = torch.tensor([0.2, 0.5, 0.9, 0.7], dtype=torch.float64)
    x = torch.randn(4, natural[0], *size, generator=torch.Generator().manual_seed(0))
    cond = model.encode("red apple", "blue car", "", "cat") if name != "audio_music" else None
    if cond is None:
        cond = blank(model, (natural[0], *size)).expand(4)
        assert cond.grid is not None  # the beat
        cond = cond.with_grid(torch.randn(cond.grid.shape, generator=torch.Generator().manual_seed(1)))
    alpha, sigma = model.denoiser.schedule(t)
    given = {"x": x, "alpha": alpha, "sigma": sigma, "c_noise": model.denoiser.c_noise(t), "tokens": cond.tokens,
             "mask": cond.mask, "vector": cond.vector, "grid": cond.grid}  # fmt: skip
    arrays = {
        k: (v if v.dtype == torch.bool else v.float()).numpy() for k, v in given.items() if v is not None
    }
    with torch.no_grad():
        wanted = model.denoiser(x, t, cond)
    (found,) = session.run(["x0"], arrays)
    assert (torch.from_numpy(found) - wanted).abs().max() < 1e-4


def test_a_graph_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from multigen.model.export import onnx

    model = stirred("image_digits", PLAIN)
    monkeypatch.setattr(onnx, "TOLERANCE", -1.0)
    with pytest.raises(MultigenError, match="plain: its graph differs by"):
        onnx.write_onnx(model, tmp_path / "x.onnx")
    monkeypatch.setattr(onnx, "_LARGEST", 10)
    with pytest.raises(MultigenError, match="an ONNX file holds 2 GB"):
        onnx.write_onnx(model, tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


FAMILIES = {
    "stable diffusion xl": folders.stable_diffusion_xl,
    "stable diffusion 3": folders.stable_diffusion_3,
    "flux": folders.flux,
    "unconditional": folders.unconditional,
}


@pytest.mark.parametrize(
    "make",
    [
        tiny_pipeline,
        pytest.param(folders.stable_diffusion_xl, marks=pytest.mark.slow),
        pytest.param(folders.stable_diffusion_3, marks=pytest.mark.slow),
        folders.flux,
    ],
)
def test_networks_of_pipelines_are_exported_too(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """At sizes and lengths that were not traced, to the tolerance of the command."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from multigen.model.export import onnx

    model = multigen.load(make(tmp_path / "tiny"), device="cpu")
    file = onnx.write_onnx(model, tmp_path / "tiny.onnx")
    assert file.stat().st_size > 100_000
    assert onnx._check(model, file) < 1e-5


SLOW = pytest.mark.slow
MOVING = [
    "musicldm",
    *(pytest.param(n, marks=SLOW) for n in ("audioldm 2", "modelscope", "animatediff", "wan")),
]
OTHERS = (
    "stable audio",
    "ltx",
    "stable video diffusion",
    "wan 2.2",
    "kandinsky, prior",
    "unclip",
    "kandinsky",
)


@pytest.mark.parametrize("name", MOVING)
def test_networks_of_sound_and_video_too(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from multigen.model.export import onnx

    model = opened(name, tmp_path).model
    assert onnx._check(model, onnx.write_onnx(model, tmp_path / "tiny.onnx")) < 1e-4


@pytest.mark.parametrize("name", ["wan image-to-video", *(pytest.param(n, marks=SLOW) for n in OTHERS)])
def test_those_that_cannot_be_traced_say_so(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from multigen.model.export import onnx

    model = opened(name, tmp_path).model
    with pytest.raises(MultigenError, match="exported to ONNX|its graph does not run at|its graph differs"):
        onnx.write_onnx(model, tmp_path / "tiny.onnx")
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize("family", FAMILIES)
def test_tuned_pipelines_of_other_families_open_again(family: str, tmp_path: Path) -> None:
    folder = FAMILIES[family](tmp_path / "tiny")
    model, before = (multigen.load(folder, device="cpu") for _ in range(2))
    with torch.no_grad():
        for p in model.denoiser.backbone.parameters():
            p.mul_(1.01)
    made = write_diffusers(model, tmp_path / "tuned")
    again = multigen.load(made, device="cpu")
    assert again.weights_hash() == model.weights_hash() != before.weights_hash()
    assert {p.name for p in made.iterdir()} == {p.name for p in folder.iterdir()}
