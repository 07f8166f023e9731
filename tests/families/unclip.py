"""The latents of diffusers' unCLIP pipelines: prior, decoder and upscaler under the noise that ours draws."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from multigen.core import Noise
from multigen.storage.pipeline_place import stage_of
from tests.families import folders

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable
import transformers as t  # isort: skip

PROMPTS = ["a red apple", "blue car, lighthouse on the left"]
SEEDS = [7, 8]


def noise(shape: tuple[int, ...], purpose: str, index: int = 0) -> Tensor:
    """Ours, [2, *shape]."""
    return Noise(SEEDS, shape)(purpose, index)


def exact(scheduler: Any) -> Any:
    """A scheduler of unCLIP with its table in float64: the rounding of 1 - product costs it 5e-4 at index 0."""
    n = scheduler.config.num_train_timesteps
    bar = [math.cos((k / n + 0.008) / 1.008 * math.pi / 2) ** 2 for k in range(n + 1)]
    betas = [min(1 - after / before, 0.999) for before, after in pairwise(bar)]
    scheduler.betas = torch.tensor(betas, dtype=torch.float64)
    scheduler.alphas = 1 - scheduler.betas
    scheduler.alphas_cumprod = torch.cumprod(scheduler.alphas, 0)
    return scheduler


@contextmanager
def drawing(module: str, stage: str, shape: tuple[int, ...]) -> Iterator[None]:
    """What a module of diffusers draws is the noise of our steps."""
    steps = iter(range(100))

    def drawn(size: Any, **_: Any) -> Tensor:
        return noise(shape, f"{stage}step", next(steps)).reshape(size)

    with mock.patch(f"diffusers.{module}.randn_tensor", drawn):
        yield


def prior(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """The embedding as the network has it: before its statistics."""
    exact(pipe.scheduler)
    with drawing("schedulers.scheduling_unclip", "", (folders.TEXT,)):
        made = pipe(PROMPTS, latents=noise((32, 1), "start")[..., 0], num_inference_steps=steps).image_embeds
    return ((made - pipe.prior.clip_mean) / pipe.prior.clip_std).detach()[..., None]


def kandinsky(pipe: Any, start: Tensor, steps: int) -> Tensor:
    first = d.KandinskyV22PriorPipeline.from_pretrained(Path(pipe.name_or_path).with_name("prior"))
    first.set_progress_bar_config(disable=True)
    exact(first.scheduler)
    with drawing("schedulers.scheduling_unclip", "", (32,)):
        said = first(PROMPTS, latents=noise((32, 1), "start")[..., 0], num_inference_steps=steps)
    options = {"height": 16, "width": 16, "num_inference_steps": steps, "output_type": "latent"}
    begin = noise((4, 8, 8), "stage 1 start")
    return pipe(said.image_embeds, said.negative_image_embeds, latents=begin * _sigma(pipe), **options).images


def _sigma(pipe: Any) -> float:
    """Of the first step: diffusers begins with noise of unit variance, which it is not quite."""
    table: Any = d.DDIMScheduler.from_config(pipe.scheduler.config)
    table.set_timesteps(5)
    return float((1 - table.alphas_cumprod[int(table.timesteps[0])]) ** 0.5)


def stable(pipe: Any, start: Tensor, steps: int) -> Tensor:
    begin = noise((4, 8, 8), "stage 1 start") * _sigma(pipe)
    level = mock.Mock(return_value=noise((32,), "stage 1 condition"))
    with (
        drawing("schedulers.scheduling_ddpm", "", (32,)),
        mock.patch("diffusers.pipelines.stable_diffusion.pipeline_stable_unclip.randn_tensor", level),
    ):
        return pipe(
            PROMPTS,
            prior_latents=_scaled(pipe.prior_scheduler, noise((32, 1), "start")[..., 0], steps),
            latents=begin,
            prior_num_inference_steps=steps,
            num_inference_steps=steps,
            output_type="latent",
        ).images


def _scaled(scheduler: Any, start: Tensor, steps: int) -> Tensor:
    """Our start: noise of the first step's sigma."""
    scheduler.set_timesteps(steps)
    return start * float((1 - scheduler.alphas_cumprod[int(scheduler.timesteps[0])]) ** 0.5)


def pipeline(folder: Path) -> Any:
    """By its parts: diffusers does not find a retired pipeline by its name."""
    whole, _ = stage_of(folder)
    from diffusers.pipelines.deprecated.unclip import UnCLIPTextProjModel

    kinds: dict[str, Any] = {
        "prior": d.PriorTransformer,
        "decoder": d.UNet2DConditionModel,
        "text_encoder": t.CLIPTextModelWithProjection,
        "tokenizer": t.CLIPTokenizer,
        "text_proj": UnCLIPTextProjModel,
        "super_res_first": d.UNet2DModel,
        "super_res_last": d.UNet2DModel,
        "prior_scheduler": d.UnCLIPScheduler,
        "decoder_scheduler": d.UnCLIPScheduler,
        "super_res_scheduler": d.UnCLIPScheduler,
    }
    parts = {name: kind.from_pretrained(whole / name) for name, kind in kinds.items()}
    made = d.UnCLIPPipeline(**parts)
    for scheduler in (made.prior_scheduler, made.decoder_scheduler, made.super_res_scheduler):
        exact(scheduler)
    made.scheduler = made.decoder_scheduler
    return made


def decoder_folder(folder: Path) -> Path:
    return folders.unclip(folder) / "decoder"


def decoder(pipe: Any, start: Tensor, steps: int) -> Tensor:
    return _all(pipe, steps)[0]


def upscaled(pipe: Any, start: Tensor, steps: int) -> Tensor:
    return _all(pipe, steps)[1]


def _all(pipe: Any, steps: int) -> tuple[Tensor, Tensor]:
    """What the decoder and the upscaler of the pipeline make, before it is clamped."""
    sizes = {"": (32,), "stage 1 ": (3, 8, 8), "stage 2 ": (3, 16, 16)}
    shapes = iter([pair for pair in sizes.items() for _ in range(steps - 1)])
    count = iter([k for _ in range(3) for k in range(steps - 1)])
    made: list[Tensor] = []

    def drawn(size: Any, **_: Any) -> Tensor:
        stage, shape = next(shapes)
        return noise(shape, f"{stage}step", next(count)).reshape(size)

    step = d.UnCLIPScheduler.step

    def watched(self: Any, output: Tensor, *args: Any, **options: Any) -> Any:
        out = step(self, output, *args, **options)
        made.append(out.prev_sample)
        return out

    with (
        mock.patch("diffusers.schedulers.scheduling_unclip.randn_tensor", drawn),
        mock.patch.object(d.UnCLIPScheduler, "step", watched),
    ):
        pipe(
            PROMPTS,
            prior_latents=noise((32, 1), "start")[..., 0],
            decoder_latents=noise((3, 8, 8), "stage 1 start"),
            super_res_latents=noise((3, 16, 16), "stage 2 start"),
            prior_num_inference_steps=steps,
            decoder_num_inference_steps=steps,
            super_res_num_inference_steps=steps,
            output_type="np",
        )
    return made[2 * steps - 1], made[3 * steps - 1]
