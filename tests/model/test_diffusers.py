"""Stable Diffusion through multigen's interfaces: the latents of diffusers' own pipeline, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

import multigen
from multigen import registry
from multigen.core import Cond, Noise, Sampling, cfg, drive, plain, solve
from multigen.core.backbone import Maps, Taps
from multigen.core.noise import normal
from multigen.errors import MultigenError, RecipeError
from multigen.families import schedulers
from multigen.model import diffusers as foreign
from multigen.model.compatibility import check_combination
from multigen.model.export import export
from multigen.model.model import Model
from multigen.model.source import find, named
from multigen.recipe.load import load_recipe, override_recipe
from multigen.registry import Part
from multigen.runs import jobs as runs
from multigen.runs.sample import sample
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import hub
from tests.model.pipelines import edit, tiny_pipeline

from diffusers import (  # isort: skip  # after tests.model.pipelines, which makes torchaudio importable
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)

PROMPTS = ["a red apple", "blue car, lighthouse on the left"]
SHAPE = (4, 8, 8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A pipeline that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def load(folder: Path, *overrides: str) -> Model:
    found = find(folder)
    return Model.of(found, override_recipe(found.recipe, overrides), device="cpu")


def latents(model: Model, prompts: list[str], **options: Any) -> Tensor:
    """What `generate` hands to the codec."""
    made: list[Tensor] = []
    decode = model.codec.decode
    model.codec.decode = lambda x, **kw: (made.append(x), decode(x, **kw))[1]  # type: ignore[method-assign]
    model.generate(prompts, **options)
    model.codec.decode = decode  # type: ignore[method-assign]
    return torch.cat(made)


def theirs(folder: Path, scheduler: Callable[..., Any], start: Tensor, **options: Any) -> Tensor:
    """StableDiffusionPipeline's latents for the two prompts, from `start`."""
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = scheduler(pipe.scheduler.config)
    assert pipe.unet.dtype == pipe.text_encoder.dtype == torch.float32
    return pipe(PROMPTS, latents=start, guidance_scale=7.5, output_type="latent", **options).images


def close(ours: Tensor, other: Tensor) -> None:
    assert other.std() > 0.3  # a sample that died out would agree with anything
    assert (other[0] - other[1]).abs().max() > 0.1  # so would two prompts that nobody heard
    # Untrained weights and a guidance of 7.5 let latents grow to 100; fp32 on both sides differs by 2e-6 of the
    # largest. A guidance of 7.51 or a tenth of an index make 1e-3 of it.
    torch.testing.assert_close(ours, other, rtol=0, atol=3e-5 * other.abs().max().item())


# --- parity -----------------------------------------------------------------------------------------------------


def dpm(**options: Any) -> Callable[[Any], Any]:
    return lambda config: DPMSolverMultistepScheduler.from_config(config, **options)


# Overrides of ours; diffusers' scheduler, and whether it is told our indices one by one.
SAME: dict[str, tuple[list[str], Callable[[Any], Any], bool]] = {
    "ddim": ([], DDIMScheduler.from_config, False),
    "ddim trailing": (
        ["timesteps.name=trailing"],
        lambda c: DDIMScheduler.from_config(c, timestep_spacing="trailing", set_alpha_to_one=True),
        False,
    ),
    "dpmpp_2m": (["sampler.name=dpmpp_2m"], dpm(final_sigmas_type="sigma_min"), True),
    "dpmpp_2m trailing": (
        ["sampler.name=dpmpp_2m", "timesteps.name=trailing"],
        dpm(timestep_spacing="trailing"),
        False,
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_latents_are_those_of_the_pipeline_at_50_steps_and_guidance_7_5(name: str, folder: Path) -> None:
    overrides, scheduler, told = SAME[name]
    model = load(folder, *overrides)
    assert model.denoiser.precision is None
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.float32}
    ours = latents(model, PROMPTS, seed=7, steps=50, guidance_scale=7.5)
    schedule = model.denoiser.schedule
    ts = registry.build("timesteps", model.recipe.timesteps)(schedule, 50)
    start = Noise([7, 8], SHAPE)("start") * schedule(ts[:1]).sigma.float()
    indices = [round(t * 1000 - 1) for t in ts[:-1].tolist()]
    options = {"timesteps": indices} if told else {"num_inference_steps": 50}
    close(ours, theirs(folder, scheduler, start, **options))


def test_euler_is_the_pipelines_in_sigma_space(folder: Path) -> None:
    """Whose latents are x / alpha, and start from sigma / alpha."""
    model = load(folder, "sampler.name=euler", "timesteps.name=trailing")
    ours = latents(model, PROMPTS, seed=7, steps=20)
    pipe_start = Noise([7, 8], SHAPE)("start")
    schedule = model.denoiser.schedule
    alpha, sigma = (float(v) for v in schedule(torch.ones(1, dtype=torch.float64)))

    def scheduler(config: Any) -> Any:
        made = EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing")
        made.set_timesteps(20)
        assert float(made.init_noise_sigma) == pytest.approx(sigma / alpha, rel=1e-4)
        return made

    close(ours, theirs(folder, scheduler, pipe_start, num_inference_steps=20))


@pytest.mark.parametrize("how", ["v_prediction", "trained_betas"])
def test_other_predictions_and_tables_of_betas(how: str, copied: Path) -> None:
    path = copied / "scheduler" / "scheduler_config.json"
    betas = [1e-4 + 0.00016 * k**0.9 / 5 for k in range(500)]
    options = {"prediction_type": how} if how == "v_prediction" else {"trained_betas": betas}
    edit(path, options | ({} if how == "v_prediction" else {"num_train_timesteps": 500}))
    model = load(copied)
    assert model.recipe.schedule.name == ("scaled_linear" if how == "v_prediction" else "discrete")
    ours = latents(model, PROMPTS, seed=7, steps=20)
    schedule = model.denoiser.schedule
    ts = registry.build("timesteps", model.recipe.timesteps)(schedule, 20)
    start = Noise([7, 8], SHAPE)("start") * schedule(ts[:1]).sigma.float()
    close(ours, theirs(copied, DDIMScheduler.from_config, start, num_inference_steps=20))


def test_prompts_are_heard_as_in_the_pipeline(folder: Path) -> None:
    model = load(folder)
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    prompts = [*PROMPTS, "  Two   blanks\tand CAPITALS (of some kind) "]
    cond = model.conditioner(model.conditioner.from_prompts(prompts))
    given, null = pipe.encode_prompt(prompts, "cpu", 1, True)
    assert cond.tokens.shape == (3, 77, 32)
    assert cond.mask.all()
    torch.testing.assert_close(cond.tokens, given, rtol=0, atol=1e-5)
    torch.testing.assert_close(model.conditioner.null(3).tokens, null, rtol=0, atol=1e-5)
    with pytest.raises(MultigenError, match="not valid Unicode"):
        model.generate("\ud800")


def test_the_codec_is_the_pipelines_vae(folder: Path) -> None:
    codec = load(folder).codec
    pipe = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    media = normal((2, 3, 16, 24), 1, "media").clamp(-1, 1)
    posterior = pipe.vae.encode(media).latent_dist
    scale = pipe.vae.config.scaling_factor
    assert codec.shape((3, 16, 24)) == (4, 8, 12)
    torch.testing.assert_close(codec.encode(media), posterior.mode() * scale, rtol=0, atol=1e-5)
    drawn = codec.encode(media, seed=3)
    noise = (drawn / scale - posterior.mode()) / posterior.std
    assert 0.8 < noise.std() < 1.2
    torch.testing.assert_close(
        codec.encode(media[1:], seed=4), drawn[1:], rtol=0, atol=1e-5
    )  # keyed, not drawn
    x = normal((2, 4, 8, 12), 2, "x")
    picture = pipe.vae.decode(x / scale).sample.clamp(-1, 1)
    torch.testing.assert_close(codec.decode(x, seed=9), picture, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="factor 2 does not divide the size 15 x 16"):
        codec.shape((3, 15, 16))
    (odd,) = load(folder).generate("", size=15, steps=1)  # made at 16 pixels and cut
    assert odd.tensor.shape == (3, 15, 15)


# --- every interface --------------------------------------------------------------------------------------------


def test_requests_driven_together_are_those_driven_alone(folder: Path) -> None:
    """Prompts, samplers, step counts and guides mix in one network call."""
    model = load(folder)
    schedule, denoiser = model.denoiser.schedule, model.denoiser
    null = model.conditioner.null(1)

    def request(k: int) -> Sampling:
        name, steps, prompt = [("ddim", 5, "a red apple"), ("heun", 4, "blue car"), ("euler", 7, ""),
                               ("dpmpp_2m", 6, "lighthouse"), ("ddpm", 5, "red car")][k]  # fmt: skip
        with torch.no_grad():
            cond = model.conditioner(model.conditioner.from_prompts([prompt]))
        ts = registry.build("timesteps", model.recipe.timesteps)(schedule, steps)
        noise = Noise([k], SHAPE)
        x = noise("start") * schedule(ts[:1]).sigma.float()
        guide = plain(cond, null) if k == 2 else cfg(cond, null, scale=2.0 + k)
        return Sampling(registry.build("sampler", Part(name))(schedule, x, ts, noise), guide, denoiser)

    together = [request(k) for k in range(5)]
    for _ in drive(together):
        pass
    for k, done in enumerate(together):
        one = request(k)
        assert done.sample is not None
        alone = solve(one.sampler, one.guide, denoiser)
        full = float(alone.abs().max())  # 15 to 31, of which fp32 makes 2e-6
        torch.testing.assert_close(done.sample, alone, rtol=0, atol=1e-4 * full)


def test_a_seeds_sample_is_the_same_in_any_batch(folder: Path) -> None:
    model = load(folder)
    prompts = ["a red apple", "", "blue car"]
    together = latents(model, prompts, seed=20, steps=6)
    for k, prompt in enumerate(prompts):
        alone = latents(model, [prompt], seed=20 + k, steps=6)
        full = float(alone.abs().max())  # latents have no full scale of 1
        torch.testing.assert_close(together[k], alone[0], rtol=0, atol=1e-4 * full)


@pytest.mark.parametrize("sampler", registry.names("sampler"))
def test_every_sampler(sampler: str, folder: Path) -> None:
    model = load(folder, f"sampler.name={sampler}")
    ours = latents(model, ["a red apple"], seed=1, steps=8)
    assert ours.isfinite().all()
    assert 0.1 < ours.std() < 30


@pytest.mark.parametrize("guide", [name for name in registry.names("guide") if name != "distilled"])
def test_every_guide(guide: str, folder: Path) -> None:
    weaker = [f"guide.weights={folder}"] if guide == "autoguidance" else []
    assert latents(load(folder, f"guide.name={guide}", *weaker), ["a red apple"], steps=4).isfinite().all()


@pytest.mark.parametrize("modifier", registry.names("modifier"))
def test_every_modifier(modifier: str, folder: Path) -> None:
    more = ", concept: a pear" if modifier == "safe" else ""
    model = load(folder, f"modifiers=[{{name: {modifier}{more}}}]")
    assert latents(model, ["a red apple"], steps=4).isfinite().all()


def test_taps_into_attention(folder: Path) -> None:
    """Of diffusers' blocks in the order in which x meets them; nothing of it stays behind."""
    model = load(folder)
    network = model.denoiser.backbone
    assert (network.attentions, network.deepest) == (
        4,
        1,
    )  # one on the way down, the middle, two on the way up
    x, told = normal((2, *SHAPE), 1, "x"), torch.full((2,), 500.0)
    cond = model.conditioner({"text": PROMPTS})
    with torch.no_grad():
        before = network(x, told, cond)
        undone = network(x, told, cond, Taps(undone=(1,)))
        skipped = network(x, told, cond, Taps(skipped=(0, 1, 2, 3)))
        other = network(x, told, Cond(tokens=cond.tokens.flip(0), mask=cond.mask), Taps(skipped=(0, 1, 2, 3)))
        maps = Maps()
        watched = network(x, told, cond, Taps(maps=maps))
        after = network(x, told, cond)
    assert torch.equal(before, after)
    assert torch.equal(before, watched)
    assert (undone - before).abs().max() > 1e-3
    assert (skipped - before).abs().max() > 1e-3
    assert torch.equal(skipped, other)  # without its attention it hears no prompt
    assert [maps.found[k].shape for k in range(4)] == [
        (2, 77, 1, 8, 8),
        (2, 77, 1, 4, 4),
        (2, 77, 1, 8, 8),
        (2, 77, 1, 8, 8),
    ]
    for shares in maps.found.values():
        torch.testing.assert_close(shares.sum(1), torch.ones_like(shares.sum(1)), rtol=0, atol=1e-5)


def test_padding_of_another_conditioner_is_not_heard(folder: Path) -> None:
    model = load(folder)
    x, told = normal((1, *SHAPE), 1, "x"), torch.full((1,), 500.0)
    cond = model.conditioner({"text": ["a red apple"]})
    short = Cond(tokens=cond.tokens[:, :5], mask=cond.mask[:, :5])
    with torch.no_grad():
        a, b = (model.denoiser.backbone(x, told, c) for c in (short, short.pad(77)))
        c = model.denoiser.backbone(x, told, cond)
    torch.testing.assert_close(
        a, b, rtol=0, atol=1e-4
    )  # 1e-6 found, of values up to 2; padding that is heard: 1.8
    assert (a - c).abs().max() > 1e-4


def test_edits(folder: Path) -> None:
    """What is kept comes back, media grow, variations go as far as asked, an inversion finds the picture again."""
    model = load(folder)
    media = normal((3, 16, 16), 1, "media").mul(0.4).clamp(-1, 1)
    keep = torch.ones(16, 16, dtype=torch.bool)
    keep[:, 8:] = False
    filled = model.edit(media, "a red apple", keep=keep, feather=0, steps=3)[0].tensor
    assert torch.equal(filled[:, keep], media[:, keep])
    assert (filled[:, ~keep] - media[:, ~keep]).abs().mean() > 0.01
    grown = model.edit(media[:, :, :8], "a red apple", extend=[0, 8], feather=0, steps=3)[0].tensor
    assert torch.equal(grown[:, :, :8], media[:, :, :8])
    wide = model.edit(media, "a red apple", extend=[0, 16], feather=0, steps=3, sliding_window=True)[0].tensor
    assert wide.shape == (3, 16, 32)
    assert torch.equal(wide[:, :, :16], media)
    copy = model.codec.decode(model.codec.encode(media[None]))[0]

    def apart(**options: Any) -> float:
        made = model.edit(media, "a red apple", steps=20, guidance_scale=1.0, **options)[0].tensor
        return float((made - copy).abs().mean())

    far = apart(strength=1.0)
    assert apart(strength=0.1) < 0.7 * far
    assert apart(invert="a red apple") < 0.7 * far


# --- from the command line --------------------------------------------------------------------------------------


def test_sampling_writes_beside_the_runs_and_no_weights(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    made = sample(
        str(folder),
        multigen.Request(steps=3),
        requests=[multigen.Request("a red apple")],
        n=2,
        device="cpu",
        quiet=True,
    )
    assert made.parent == Path("runs") / "tiny"
    assert len(list((made / "media").glob("*.png"))) == 2
    assert sorted(folder.rglob("*")) == before
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_shipped_recipe_runs_again_from_its_run_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    small = ["modality.size=16", "sample.steps=3", "sample.prompts=['a red apple']"]
    recipe = load_recipe("image_stable_diffusion", ["backbone.path=tiny", *small])
    assert [recipe.weights, recipe.codec.args["path"], recipe.conditioner.args["path"]] == ["tiny"] * 3
    made = runs.run(recipe, out=tmp_path / "out", device="cpu", quiet=True)
    assert not list(made.rglob("*.safetensors"))
    monkeypatch.chdir(tmp_path)  # its paths are whole now
    again = runs.run(load_recipe(str(made)), out=made, device="cpu", quiet=True)
    (first,) = (again / "media").glob("*.png")
    before = PillowImage.open(first).tobytes()
    first.unlink()  # what is missing is made again
    runs.run(load_recipe(str(made)), out=made, device="cpu", quiet=True)
    assert PillowImage.open(first).tobytes() == before
    assert multigen.load(made, device="cpu").recipe.weights == str(folder)
    with pytest.raises(MultigenError, match="nothing was trained here; pass on .*tiny itself"):
        export(made, tmp_path / "x.safetensors")


def test_weights_and_parts_of_different_pipelines_are_refused(folder: Path, copied: Path) -> None:
    for override, words in (
        (f"codec.path={copied}", "codec: vae of .*copy does not go with weights"),
        ("prediction.name=v", "prediction: 'v' is not what .*: prediction.name=eps"),
        ("schedule.beta_end=0.02", "schedule: not what .* was trained with: .*beta_end: 0.012"),
    ):
        recipe = load_recipe("image_stable_diffusion", [f"backbone.path={folder}", override])
        with pytest.raises(RecipeError, match=words):
            named(recipe, recipe.name)


def test_an_unfilled_path_is_asked_for() -> None:
    with pytest.raises(MultigenError, match=r"codec.*path: not set\. Give a folder in diffusers' format"):
        check_combination(load_recipe("image_stable_diffusion"))


def test_the_u_net_is_trained_further_and_only_it_is_saved(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    for k in range(4):
        model = load(folder)
        model.modality.write(normal((3, 16, 16), k, "media").clamp(-1, 1), tmp_path / "media" / f"{k}.png")
        (tmp_path / "media" / f"{k}.txt").write_text("a red apple")
    options = ["modality.size=16", "sample.steps=2", "sample.prompts=['a red apple']", "data.path=media"]
    options += [
        "train.steps=2",
        "train.batch=2",
        "train.lr=1e-3",
        "train.warmup=0",
        "train.ema_decay=0",
        "train.tensorboard=false",
    ]
    recipe = load_recipe("image_stable_diffusion", [f"backbone.path={folder}", *options])
    made = runs.train(recipe, out=tmp_path / "tuned", device="cpu", quiet=True)
    before, after = load(folder).state_dict(), multigen.load(made, device="cpu").state_dict()
    assert before.keys() == after.keys()
    assert {k.partition(".")[0] for k in after} == {"backbone"}
    assert any((before[k] - after[k]).abs().max() > 1e-4 for k in before)
    file = export(made, tmp_path / "tuned.safetensors")
    assert str(folder.parent).encode() not in file.read_bytes()  # no path of the machine
    monkeypatch.chdir(folder.parent)
    again = multigen.load(file, device="cpu")  # the pipeline by its name, from where it lies
    assert again.weights_hash() == multigen.load(made, device="cpu").weights_hash()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MultigenError, match="path: tiny: no such folder"):
        multigen.load(file, device="cpu")


# --- refusals ---------------------------------------------------------------------------------------------------


def refused(folder: Path, words: str) -> None:
    with pytest.raises(MultigenError, match=words) as caught:
        multigen.load(folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_other_pipelines_are_refused(copied: Path) -> None:
    edit(copied / "model_index.json", {"_class_name": "StableDifusionPipeline"})
    refused(
        copied, "'StableDifusionPipeline' is not allowed. Allowed: .*Did you mean 'StableDiffusionPipeline'"
    )
    edit(copied / "model_index.json", {"_class_name": None})
    refused(copied, "names no class of pipeline")
    edit(copied / "model_index.json", {"_class_name": "StableDiffusionXLPipeline"})
    refused(copied, "lists no text_encoder_2")
    edit(
        copied / "model_index.json",
        {"_class_name": "StableDiffusionPipeline", "vae": ["diffusers", "VQModel"]},
    )
    refused(copied, r"its vae: 'diffusers.VQModel' is not allowed. Allowed: diffusers.AutoencoderKL")
    edit(copied / "model_index.json", {"vae": None})
    refused(copied, "lists no vae")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_pickles_are_refused(part: str, copied: Path) -> None:
    for path in (copied / part).glob("*.safetensors"):
        path.with_suffix(".bin").write_bytes(b"\x80\x04N.")
        path.unlink()
    refused(
        copied,
        f"{part}: there are no .safetensors weights .pickled weights, .bin or .ckpt, are never loaded.. "
        rf"Convert it, which runs no code: multigen convert \S+{part}/\S+\.bin \S+{part}/\S+\.safetensors",
    )


@pytest.mark.parametrize("suffix", [".ckpt", ".bin", ".pt"])
def test_a_pickled_checkpoint_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    torch.save({"state_dict": {}}, path)
    refused(path, r"weights are read from \.safetensors only, never from pickles")


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer"])
def test_code_is_refused(part: str, copied: Path) -> None:
    name = "tokenizer_config.json" if part == "tokenizer" else "config.json"
    edit(copied / part / name, {"auto_map": {"AutoModel": "evil.Evil"}})
    (copied / part / "evil.py").write_text("raise SystemExit('run')")
    refused(copied, f"{part}: it requires its own code .auto_map., which is never run")


def test_code_in_the_index_is_refused(copied: Path) -> None:
    (copied / "evil.py").write_text("raise SystemExit('run')")
    edit(copied / "model_index.json", {"unet": ["evil", "Evil"]})
    refused(copied, r"its unet requires its own code \(evil.Evil\)")
    edit(copied / "model_index.json", {"_class_name": ["evil", "Evil"]})
    refused(copied, r"requires its own code \(evil\)")


def test_networks_that_want_more_are_refused(copied: Path) -> None:
    config = copied / "unet" / "config.json"
    before = json.loads(config.read_text())
    edit(config, {"addition_embed_type": "text_time"})
    refused(copied, "addition_embed_type: 'text_time' is not what the network of Stable Diffusion has")
    edit(config, before | {"in_channels": 8}, whole=True)
    refused(copied, "in_channels: 8 is not allowed. Allowed: 4, or 9 for inpainting")
    edit(config, before | {"cross_attention_dim": [32, 64]}, whole=True)
    refused(copied, r"unet/config.json: cross_attention_dim: \[32, 64\] is not allowed")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"beta_schedule": "laplace"}, "beta_schedule: 'laplace' is not allowed"),
        ({"prediction_type": "score"}, "prediction_type: 'score' is not allowed"),
        (
            {"_class_name": "DDIMSheduler"},
            "'DDIMSheduler' is not allowed. Allowed: .*Did you mean 'DDIMScheduler'",
        ),
        ({"trained_betas": ["a"]}, "trained_betas is no list of numbers"),
        ({"beta_start": "0.1"}, r"schedule\.beta_start: '0\.1' is not allowed"),
    ],
)
def test_schedulers_without_a_word_of_ours_are_refused(
    values: dict[str, Any], words: str, copied: Path
) -> None:
    edit(copied / "scheduler" / "scheduler_config.json", values)
    refused(copied, words)


def test_damage_is_named(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    refused(copied, r"unet/diffusion_pytorch_model.safetensors: not a readable safetensors file")
    from safetensors.torch import load_file, save_file

    weights.write_bytes(whole)
    save_file({k: v for k, v in load_file(weights).items() if "conv_in" not in k}, weights)
    refused(copied, "unet: .*2 weights missing: conv_in.bias")
    edit(copied / "vae" / "config.json", {"scaling_factor": "large"})
    refused(copied, "vae/config.json: scaling_factor: 'large' is not allowed")
    (copied / "vae" / "config.json").write_text("{")
    refused(copied, "vae/config.json: not readable as JSON")
    (copied / "vae" / "config.json").unlink()
    refused(copied, "vae/config.json: no such file")


def test_half_precision_files_become_fp32(copied: Path) -> None:
    from safetensors.torch import load_file, save_file

    for path in copied.rglob("*.safetensors"):
        tensors = {k: v.half() for k, v in load_file(path).items()}
        path.unlink()
        save_file(tensors, path.with_suffix(".fp16.safetensors"), metadata={"format": "pt"})
    model = load(copied)
    assert {p.dtype for p in model.denoiser.parameters()} == {torch.float32}
    made = latents(model, ["a red apple"], steps=3)
    assert made.dtype == torch.float32
    assert made.isfinite().all()


# --- the hub ----------------------------------------------------------------------------------------------------


def test_ids_on_the_hub_and_what_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert diffusers_folder.is_id("hf:some-owner/stable-diffusion-v1-5")
    with pytest.raises(RecipeError, match="no such file or folder. A model on the hub: hf:some-owner/model"):
        multigen.load("some-owner/model", device="cpu")
    for path in (
        "runs/x",
        "some-owner/model",
        "hf:a",
        "hf:a/b/c",
        "mine/typo",
        "./a/b",
        "../b",
        "a/b/c",
        "a/b.yaml",
        "a",
        "/a/b",
        "~/b",
        "a/b.safetensors",
    ):
        assert not diffusers_folder.is_id(path), path


def test_an_id_is_fetched_as_data_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    import huggingface_hub

    asked: list[dict[str, Any]] = []
    hub._fetched.cache_clear()
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, **kw: (asked.append({"name": name, **kw}), str(folder))[1],
    )
    model = multigen.load("hf:owner/tiny-sd", device="cpu")
    assert [one["name"] for one in asked] == ["owner/tiny-sd"] * 2  # the index, then the parts that it lists
    assert asked[0]["allow_patterns"] == ["model_index.json"]
    patterns = asked[1]["allow_patterns"]
    assert all(p.endswith((".json", ".txt", ".model", ".safetensors")) for p in patterns)
    assert "unet/*.safetensors" in patterns and not any(
        "safety_checker" in p for p in patterns
    )  # it has none
    assert model.recipe.name == "tiny-sd"
    assert model.recipe.backbone == Part("diffusers", {"path": "hf:owner/tiny-sd"})
    recipe = load_recipe(
        "image_stable_diffusion", ["backbone.path=hf:owner/tiny-sd", "modality.size=16", "sample.steps=2"]
    )
    made = runs.run(recipe, out=tmp_path / "out", device="cpu", quiet=True)
    assert (
        load_recipe(str(made)).codec.args["path"] == "hf:owner/tiny-sd"
    )  # an id, not a path of this machine
    hub._fetched.cache_clear()


def test_offline_an_id_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hub._fetched.cache_clear()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MultigenError, match="hf:some/thing: it cannot be downloaded") as caught:
        multigen.load("hf:some/thing", device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(MultigenError, match="need the package diffusers: pip install diffusers"):
        diffusers_folder.imported("diffusers")


def test_a_pipeline_is_no_recipe(folder: Path) -> None:
    with pytest.raises(RecipeError, match="multigen run image_stable_diffusion backbone.path="):
        load_recipe(str(folder))


def test_names_of_runs_are_names_of_folders() -> None:
    assert foreign._name("hf:owner/stable-diffusion-v1-5") == "stable-diffusion-v1-5"
    assert foreign._name("a folder, mine") == "a_folder__mine"
    assert foreign._name("/") == "image_stable_diffusion"


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"_class_name": "PNDMScheduler", "steps_offset": 1}, Part("leading", {"offset": 1, "to_zero": False})),
        ({"_class_name": "DDIMScheduler"}, Part("leading", {"offset": 0, "to_zero": True})),
        ({"_class_name": "EulerDiscreteScheduler"}, Part("linspace", {"closed": True})),
        ({"_class_name": "UniPCMultistepScheduler"}, Part("linspace", {"closed": False})),
        ({"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading", "steps_offset": 1},
         Part("leading", {"offset": 1, "to_zero": True})),
        ({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}, Part("karras")),
        ({"_class_name": "DDIMScheduler", "timestep_spacing": "trailing"}, Part("trailing")),
    ],
)  # fmt: skip
def test_grids_of_schedulers(config: dict[str, Any], part: Part) -> None:
    assert schedulers.timesteps(config) == part


def test_listing_and_loading_other_models_imports_no_diffusers() -> None:
    """Nor torch's compiler, which takes a second: a recipe's parts are built on the meta device."""
    code = (
        "import sys; from multigen.cli.parts import parts; list(parts()); import multigen.model.load; "
        "from multigen.model.compatibility import check_combination as check; "
        "from multigen.recipe.load import load_recipe; check(load_recipe('image_digits')); "
        "assert not {'diffusers', 'transformers', 'torch._dynamo'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
