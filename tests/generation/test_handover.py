"""Two models on one way from noise: the latents of diffusers' base and refiner, batches, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.core import Noise
from multigen.errors import MultigenError, RecipeError
from multigen.generation.plan import plan
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.sampling import sampling_recipe
from tests.backbones.test_controlnet import latents, request
from tests.families import folders
from tests.families.test_families import close

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable

SIZE, STEPS, SEED, PROMPT = 16, 10, 7, "a red apple"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("xl")
    return folders.stable_diffusion_xl(folder / "base"), folders.refiner(folder / "refiner")


def model_of(made: tuple[Path, Path], *overrides: str, share: float = 0.6) -> Model:
    found = find(made[1])
    over = [f"stages=[{made[0]}]", f"sample.handover={share}", *overrides]
    return Model.of(found, sampling_recipe(found.recipe, over), device="cpu")


def asked(**options: Any) -> Any:
    return request(**{"steps": STEPS} | options)


def theirs(made: tuple[Path, Path], share: float, negative: str | None) -> Tensor:
    base = d.StableDiffusionXLPipeline.from_pretrained(made[0], local_files_only=True)
    fine = d.StableDiffusionXLImg2ImgPipeline.from_pretrained(made[1], local_files_only=True)
    base.scheduler.set_timesteps(STEPS)
    start = Noise([SEED], (4, 8, 8))("stage 0 start" if share < 0 else "start")
    start = start * float(base.scheduler.sigmas[0]) / float(base.scheduler.init_noise_sigma)
    options: dict[str, Any] = {"num_inference_steps": STEPS, "output_type": "latent", "guidance_scale": 5.0}
    options |= {"negative_prompt": negative, "height": SIZE, "width": SIZE}
    for pipe in (base, fine):
        pipe.set_progress_bar_config(disable=True)
    half = base(PROMPT, latents=start, denoising_end=share, **options).images
    del options["height"], options["width"]
    return fine(PROMPT, image=half, denoising_start=share, **options).images


@pytest.fixture(scope="module")
def alone(made: tuple[Path, Path]) -> Tensor:
    """The refiner's own."""
    return latents(Model.of(find(made[1]), device="cpu"), asked())


@pytest.mark.parametrize(("share", "negative"), [(0.3, None), (0.8, "blue car")])
def test_latents_are_those_of_base_and_refiner(
    share: float, negative: str | None, made: tuple[Path, Path], alone: Tensor
) -> None:
    model = model_of(made, share=share)
    ours = latents(model, asked(negative_prompt=negative))
    close(ours, theirs(made, share, negative), 1e-3)
    assert (ours - alone).abs().max() > 0.1


def test_requests_share_calls_in_both_models(made: tuple[Path, Path]) -> None:
    model = model_of(made)
    requests = [asked(steps=5 + k, seed=30 + k, guidance_scale=2.0 + k) for k in range(3)]
    batcher = model.batcher(requests, batch=3)
    assert batcher.calls == 5 + 6 + 7
    together = latents(model, *requests)
    for k, one in enumerate(requests):
        close(together[k : k + 1], latents(model, one))
    list(batcher)
    assert batcher._driver.calls < 5 + 6 + 7
    blend = model.blend((asked(), asked(seed=9)), n=3)
    close(
        torch.stack([blend[0].tensor]),
        torch.stack([model.generate(PROMPT, seed=7, steps=10, size=16)[0].tensor]),
    )


def test_samplers_and_schedules_of_either_model(made: tuple[Path, Path], tmp_path: Path) -> None:
    """Each walks its own grid to the level of noise at which the other goes on."""
    made_by = [latents(model_of(made), asked(sampler=name)) for name in ("euler", "dpmpp_2m", "ddpm")]
    assert all(x.isfinite().all() for x in made_by) and (made_by[0] - made_by[1]).abs().max() > 1e-3
    other = folders.stable_diffusion_2(tmp_path / "other")  # another table, with zero terminal SNR
    model = model_of((other, made[1]))
    whole = plan(model, asked())
    assert whole.former is not None
    assert model.former is not None
    snr = [
        float(m.denoiser.schedule.log_snr(t.reshape(1)))
        for m, t in ((model, whole.ts[0]), (model.former, whole.former.ts[-1]))
    ]
    assert snr[0] == pytest.approx(snr[1], abs=1e-4)
    assert latents(model, asked()).isfinite().all()


def test_an_edit_is_the_refiner_s_alone(made: tuple[Path, Path]) -> None:
    picture = torch.rand(3, SIZE, SIZE) * 2 - 1
    alone = Model.of(find(made[1]), device="cpu")
    options = {"strength": 0.5, "steps": 4, "seed": 3}
    one, other = (m.edit(picture, PROMPT, **options)[0].tensor for m in (model_of(made), alone))
    assert torch.equal(one, other)


def test_what_does_not_go_together_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match=r"handover: 0.9999 of 4 steps leaves none to the model itself"):
        latents(model_of(made, share=0.9999), asked(steps=4))
    with pytest.raises(MultigenError, match=r"handover: 0.001 of 4 steps leaves none to the stage before"):
        latents(model_of(made, share=0.001), asked(steps=4))
    recipe = find(made[1]).recipe
    with pytest.raises(RecipeError, match="stages: they go with cascade.* or with sample.handover=0.8"):
        sampling_recipe(recipe, [f"stages=[{made[0]}]"])
    with pytest.raises(RecipeError, match="sample.handover: it goes with stages"):
        sampling_recipe(recipe, ["sample.handover=0.8"])
    with pytest.raises(RecipeError, match="sample.handover: 1.5 is not allowed. Allowed: a number above 0"):
        sampling_recipe(recipe, [f"stages=[{made[0]}]", "sample.handover=1.5"])
    pixels = folders.unconditional(tmp_path / "pixels")
    with pytest.raises(MultigenError, match=r"hands over samples of \[3, 16, 16\]; .* takes \[4, 8, 8\]"):
        latents(model_of((pixels, made[1])), asked(guidance_scale=None))
