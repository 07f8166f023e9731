"""ControlNets beside the U-Nets of pipelines: the pictures of diffusers' own pipeline, several at once, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from multigen import Request
from multigen.core import Noise
from multigen.errors import MultigenError
from multigen.generation.plan import jobs, plan
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.schema import WeightedAdapter
from multigen.serving.engine.memory import Costs
from tests.families import folders, moving
from tests.model.pipelines import stir

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable

PROMPT, SIZE, STEPS, SEED = "a red apple", 16, 5, 7


@pytest.fixture(scope="module", params=["stable_diffusion", "stable_diffusion_xl"])
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return getattr(folders, request.param)(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def adapters(pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> list[WeightedAdapter]:
    """Two ControlNets of its U-Net, each with its picture."""
    unet = d.UNet2DConditionModel.from_pretrained(pipeline / "unet")
    found = []
    for k, weight in enumerate((0.8, 1.5)):
        folder = tmp_path_factory.mktemp(f"controlnet{k}")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(k)
            net = d.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16))
            stir(net)
        net.save_pretrained(folder)
        levels = np.random.default_rng(k).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / "edges.png")
        found.append(WeightedAdapter(str(folder), str(folder / "edges.png"), weight=weight))
    return found


def model_of(folder: Path, *adapters: WeightedAdapter) -> Model:
    found = find(folder)
    return Model.of(found, dataclasses.replace(found.recipe, adapters=adapters), device="cpu")


def latents(model: Model, *requests: Request) -> Tensor:
    made: list[Tensor] = []
    decode = model.codec.decode
    model.codec.decode = lambda x, **kw: (made.append(x), decode(x, **kw))[1]  # type: ignore[method-assign]
    list(model.stream(list(requests)))
    return torch.cat(made)


def request(**options: Any) -> Request:
    return Request(PROMPT, **{"steps": STEPS, "size": SIZE, "seed": SEED} | options)


@pytest.mark.parametrize("count", [1, 2])
def test_latents_are_those_of_the_pipeline(
    count: int, pipeline: Path, adapters: list[WeightedAdapter]
) -> None:
    used = adapters[:count]
    xl = (pipeline / "text_encoder_2").is_dir()
    kind = d.StableDiffusionXLControlNetPipeline if xl else d.StableDiffusionControlNetPipeline
    nets: Any = [d.ControlNetModel.from_pretrained(one.path) for one in used]
    pipe = kind.from_pretrained(pipeline, controlnet=nets, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    if not xl:
        pipe.scheduler = d.DDIMScheduler.from_config(pipe.scheduler.config)
    model = model_of(pipeline, *used)
    start = Noise([SEED], (4, 8, 8))("start")
    if not xl:
        start = start * float(model.denoiser.schedule(plan(model, request()).ts[:1]).sigma)
    else:  # Euler of diffusers works on x / alpha, and scales what it is given to the first sigma
        pipe.scheduler.set_timesteps(STEPS)
        first = float(pipe.scheduler.sigmas[0])
        start = start * first / float(pipe.scheduler.init_noise_sigma)
    other = pipe(
        PROMPT,
        image=[Image.open(one.image) for one in used],
        latents=start,
        height=SIZE,
        width=SIZE,
        num_inference_steps=STEPS,
        controlnet_conditioning_scale=[one.weight for one in used],
        output_type="latent",
    ).images
    ours = latents(model, request())
    assert other.std() > 0.1
    torch.testing.assert_close(ours, other, rtol=0, atol=2e-4 * float(other.abs().max()))


def test_weights_count_and_requests_share_them(pipeline: Path, adapters: list[WeightedAdapter]) -> None:
    bare = latents(model_of(pipeline), request())
    off = latents(model_of(pipeline, dataclasses.replace(adapters[0], weight=0.0)), request())
    torch.testing.assert_close(off, bare, rtol=0, atol=1e-5 * float(bare.abs().max()))
    model = model_of(pipeline, adapters[0])
    both = latents(model, request(), request(seed=SEED + 1, guidance_scale=2.0))
    assert (both[:1] - bare).abs().max() > 1e-3
    torch.testing.assert_close(
        both[:1], latents(model, request()), rtol=0, atol=1e-4 * float(both.abs().max())
    )


def test_a_cache_goes_with_a_controlnet(pipeline: Path, adapters: list[WeightedAdapter]) -> None:
    """What it adds to levels that a shallow call leaves out goes nowhere; what it adds to the others counts."""
    model = model_of(pipeline, adapters[0])
    plain, same = (
        latents(model, request(cache="off")),
        latents(model, request(cache={"name": "deep", "every": 1})),
    )
    assert torch.equal(plain, same)
    cached, bare = (latents(one, request(cache="deep")) for one in (model, model_of(pipeline)))
    assert bool(cached.isfinite().all())
    assert 1e-4 < float((cached - plain).abs().max()) < float(plain.abs().max())
    assert (cached - bare).abs().max() > 1e-3


def test_what_does_not_go_together_is_refused(
    pipeline: Path, adapters: list[WeightedAdapter], tmp_path: Path
) -> None:
    (one, _) = adapters
    other = folders.unet(block_out_channels=(16, 32), cross_attention_dim=24)
    d.ControlNetModel.from_unet(other, conditioning_embedding_out_channels=(8, 16)).save_pretrained(
        tmp_path / "net"
    )
    with pytest.raises(
        MultigenError, match=r"is a ControlNet of another network: block_out_channels \[16, 32\]"
    ):
        model_of(pipeline, dataclasses.replace(one, path=str(tmp_path / "net")))
    with pytest.raises(MultigenError, match="UNet2DConditionModel is not allowed. Allowed: ControlNetModel"):
        model_of(pipeline, dataclasses.replace(one, path=str(pipeline / "unet")))
    with pytest.raises(MultigenError, match=r"weight -1.0 is not allowed. Allowed: 0 to 10"):
        model_of(pipeline, dataclasses.replace(one, weight=-1.0))
    with pytest.raises(MultigenError, match="in one piece, not in windows"):
        latents(model_of(pipeline, one), request(size=2 * SIZE, sliding_window=True))
    with pytest.raises(MultigenError, match="requests of one model share them"):
        latents(model_of(pipeline, one), request(overrides=("adapters=[]",)))


def test_networks_of_other_families_take_none(adapters: list[WeightedAdapter], tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match="takes no controlnet. Allowed: none"):
        model_of(moving.modelscope(tmp_path), adapters[0])


def test_a_network_that_is_led_is_measured_for_a_server(
    pipeline: Path, adapters: list[WeightedAdapter]
) -> None:
    model = model_of(pipeline, *adapters)
    (job,) = jobs(model, [request()], 1, 0)
    assert Costs(model).of(job) > Costs(model_of(pipeline)).of(job)
