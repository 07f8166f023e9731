"""Tiny pipelines that make videos of pictures, random weights on disk as diffusers writes them, and calls of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from multigen import EditRequest
from multigen.core.noise import normal
from tests.families.folders import TEXT, edit, saved, seeded
from tests.families.moving import PROMPTS, ltx_of, wan_network, wan_of

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable
from diffusers.pipelines.ltx import pipeline_ltx_condition  # isort: skip
from diffusers.pipelines.ltx.pipeline_ltx_condition import LTXVideoCondition  # isort: skip
import transformers as t  # isort: skip

FRAMES = 5


def picture(side: int, seed: int = 3) -> Tensor:
    """A picture of whole levels, [3, H, W] in [-1, 1]."""
    return (normal((3, side, side), seed, "picture").clamp(-2, 2) * 60 + 127).round() / 127.5 - 1


def pillow(one: Tensor) -> Image.Image:
    return Image.fromarray(np.uint8(((one + 1) * 127.5).round().permute(1, 2, 0).numpy()))


def begun(side: int, *, last: bool = False) -> dict[str, Any]:
    """Options of a request whose video begins with a picture, and maybe ends with another."""
    clip = torch.zeros(3, FRAMES, side, side)
    clip[:, 0], keep = picture(side), torch.tensor([True, *[False] * (FRAMES - 1)])
    if last:
        clip[:, -1], keep[-1] = picture(side, 4), True
    return {"edit": EditRequest(clip, keep=keep)}


def clip_vision(size: int, kind: str = "CLIPVisionModel") -> Any:
    config = t.CLIPVisionConfig(
        hidden_size=TEXT,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=size,
        patch_size=size // 2,
        projection_dim=TEXT,
    )
    return getattr(t, kind)(config)


def processor(size: int) -> Any:
    return t.CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def wan_image_network(**options: Any) -> Any:
    return wan_network(12, **options)


def pictures_of_clip() -> dict[str, Any]:
    return {"image_encoder": clip_vision(16), "image_processor": processor(16)}


@seeded
def wan_image(folder: Path) -> Path:
    network = wan_image_network(image_dim=TEXT, added_kv_proj_dim=24)
    return wan_of(folder, network, kind=d.WanImageToVideoPipeline, **pictures_of_clip())


@seeded
def wan_both_ends(folder: Path) -> Path:
    """Hears the first and the last frame; CLIP gives five states of each."""
    network = wan_image_network(image_dim=TEXT, added_kv_proj_dim=24, pos_embed_seq_len=10)
    return wan_of(folder, network, kind=d.WanImageToVideoPipeline, **pictures_of_clip())


@seeded
def wan_image_2_2(folder: Path) -> Path:
    """Two networks, which hear no picture."""
    return wan_of(
        folder,
        wan_image_network(),
        kind=d.WanImageToVideoPipeline,
        transformer_2=wan_image_network(),
        boundary_ratio=0.7,
    )


@seeded
def wan_each_token(folder: Path) -> Path:
    """A noise level for each token, 0 for what is known."""
    return wan_of(folder, wan_network(), kind=d.WanImageToVideoPipeline, expand_timesteps=True)


@seeded
def wan_each_token_of_text(folder: Path) -> Path:
    return wan_of(folder, wan_network(), expand_timesteps=True)


@seeded
def stable_video_diffusion(folder: Path) -> Path:
    network = d.UNetSpatioTemporalConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        num_attention_heads=2,
        cross_attention_dim=TEXT,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        num_frames=FRAMES,
    )
    vae = d.AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        scaling_factor=0.3,
    )
    scheduler = d.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        timestep_type="continuous",
        timestep_spacing="leading",
        use_karras_sigmas=True,
        sigma_min=0.002,
        sigma_max=700.0,
        steps_offset=1,
    )
    return saved(
        folder,
        d.StableVideoDiffusionPipeline,
        unet=network,
        vae=vae,
        image_encoder=clip_vision(224, "CLIPVisionModelWithProjection"),
        feature_extractor=processor(224),
        scheduler=scheduler,
    )


def wan_latents(
    pipe: Any, start: Tensor, steps: int, *, prompts: Any = PROMPTS, last: bool = False
) -> Tensor:
    side = 16
    options: dict[str, Any] = {"height": side, "width": side, "num_frames": FRAMES, "output_type": "latent"}
    if last:
        options["last_image"] = pillow(picture(side, 4))
    return pipe(pillow(picture(side)), prompts, latents=start, num_inference_steps=steps, **options).frames


def wan_latents_of_both_ends(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """The pipeline mixes up the states of both pictures where there are several prompts: one at a time."""
    rows = zip(PROMPTS, start.split(1), strict=True)
    return torch.cat([wan_latents(pipe, row, steps, prompts=prompt, last=True) for prompt, row in rows])


def ltx_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """The pipeline makes latents of the picture only where it draws the noise."""
    image = picture(32)[None, :, None]
    known = pipe.vae.encode(image).latent_dist.mode()
    known = pipe._normalize_latents(known, pipe.vae.latents_mean, pipe.vae.latents_std)
    start = torch.cat([known.expand(len(start), -1, -1, -1, -1), start[:, :, 1:]], 2)
    options: dict[str, Any] = {"num_inference_steps": steps, "output_type": "latent"}
    made = pipe(
        None, PROMPTS, latents=pipe._pack_latents(start), height=32, width=32, num_frames=FRAMES, **options
    ).frames
    return pipe._unpack_latents(made, *start.shape[2:])


@seeded
def ltx_image(folder: Path) -> Path:
    return ltx_of(folder, d.LTXImageToVideoPipeline)


@seeded
def ltx_condition(folder: Path) -> Path:
    """As LTX 0.9.5: no shift."""
    ltx_of(folder, d.LTXConditionPipeline)
    edit(
        folder / "scheduler" / "scheduler_config.json",
        {"use_dynamic_shifting": False, "shift_terminal": None},
    )
    return folder


def ltx_condition_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """One prompt at a time, as the pipeline takes pictures; it draws the start, and samples the VAE's posterior."""
    conditions = [LTXVideoCondition(pillow(picture(32)), frame_index=0)]
    conditions.append(LTXVideoCondition(pillow(picture(32, 4)), frame_index=FRAMES - 1))
    options: dict[str, Any] = {
        "num_inference_steps": steps,
        "output_type": "latent",
        "image_cond_noise_scale": 0.0,
    }
    options |= {"height": 32, "width": 32, "num_frames": FRAMES}
    made = []
    for prompt, row in zip(PROMPTS, start.split(1), strict=True):
        drawn = {
            "randn_tensor": lambda shape, row=row, **_: (
                row if tuple(shape) == tuple(row.shape) else torch.zeros(shape)
            ),
            "retrieve_latents": lambda encoded, **_: encoded.latent_dist.mode(),
        }
        with mock.patch.multiple(pipeline_ltx_condition, **drawn):
            made.append(pipe(conditions, prompt=prompt, generator=None, **options).frames)
    return torch.cat(made)


def svd_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    images = [pillow(picture(16))] * len(start)
    options = {"height": 16, "width": 16, "num_inference_steps": steps, "output_type": "latent"}
    made = pipe(images, latents=rearrange(start, "b c t h w -> b t c h w"), **options).frames
    return rearrange(made, "b t c h w -> b c t h w")


WAN = "diffusers.pipelines.wan.pipeline_wan_i2v"
SVD = "diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion"


def known_noise(seed: int, side: int) -> Tensor:
    """The noise on the pictures of two requests."""
    return torch.stack([normal((3, 1, side, side), seed + k, "known")[:, 0] for k in range(2)])
