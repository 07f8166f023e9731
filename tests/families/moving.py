"""Tiny pipelines of sound and video, random weights on disk as diffusers writes them, and calls of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from torch import Tensor

from tests.families.folders import TEXT, clip_config, saved, seeded, t5, t5_tokenizer, unet, vae
from tests.model.pipelines import clip_tokenizer, stir

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable
from diffusers.pipelines.ltx import pipeline_ltx_condition  # isort: skip
import transformers as t  # isort: skip

PROMPTS = ["a red apple", "blue car, lighthouse on the left"]


@seeded
def stable_audio(folder: Path) -> Path:
    return stable_audio_of(folder, d.CosineDPMSolverMultistepScheduler())


@seeded
def stable_audio_edm(folder: Path) -> Path:
    """The same with a solver of EDM, which is told another noise level."""
    scheduler = d.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3, sigma_max=500.0, sigma_data=1.0, prediction_type="v_prediction"
    )
    return stable_audio_of(folder, scheduler)


def stable_audio_of(folder: Path, scheduler: Any) -> Path:
    from diffusers.pipelines.stable_audio import StableAudioProjectionModel

    network = d.StableAudioDiTModel(
        sample_size=12,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        num_key_value_attention_heads=1,
        cross_attention_dim=32,
        time_proj_dim=16,
        global_states_input_dim=2 * 24,
        cross_attention_input_dim=24,
    )
    vae = d.AutoencoderOobleck(
        encoder_hidden_size=8,
        downsampling_ratios=[2, 4],
        channel_multiples=[1, 2],
        decoder_channels=3,
        decoder_input_channels=4,
        audio_channels=2,
        sampling_rate=1600,
    )
    tokenizer = t5_tokenizer()
    tokenizer.model_max_length = 20
    return saved(
        folder,
        d.StableAudioPipeline,
        transformer=network,
        vae=vae,
        text_encoder=t5(TEXT),
        tokenizer=tokenizer,
        projection_model=StableAudioProjectionModel(TEXT, 24, 0, 32),
        scheduler=scheduler,
    )


def stable_audio_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    options = {"audio_end_in_s": 0.05, "num_inference_steps": steps, "output_type": "latent"}
    return pipe(PROMPTS, latents=start, **options).audios


def text(folder: Path) -> dict[str, Any]:
    tokenizer = clip_tokenizer(folder / "tokenizer")
    return {"text_encoder": t.CLIPTextModel(clip_config(tokenizer)), "tokenizer": tokenizer}


def table() -> Any:
    return d.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False, steps_offset=1
    )


@seeded
def modelscope(folder: Path) -> Path:
    network = d.UNet3DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"),
        cross_attention_dim=TEXT,
        attention_head_dim=4,
        norm_num_groups=4,
    )
    return saved(folder, d.TextToVideoSDPipeline, unet=network, vae=vae(), scheduler=table(), **text(folder))


def motion_modules(**options: Any) -> Any:
    usual: dict[str, Any] = {
        "block_out_channels": (32, 64),
        "motion_layers_per_block": 1,
        "motion_norm_num_groups": 8,
        "motion_num_attention_heads": 2,
        "motion_max_seq_length": 6,
    }
    return d.MotionAdapter(**usual | options)


@seeded
def loose_motion(folder: Path) -> Path:
    """Motion modules alone."""
    stir(modules := motion_modules())
    modules.save_pretrained(folder, safe_serialization=True)
    return folder


@seeded
def animatediff(folder: Path) -> Path:
    parts = {
        "unet": unet(),
        "motion_adapter": motion_modules(),
        "vae": vae(),
        "scheduler": table(),
        **text(folder),
    }
    pipe = d.AnimateDiffPipeline(**parts)
    stir(pipe.unet)
    pipe.save_pretrained(folder, safe_serialization=True)
    return folder


def wan_network(channels: int = 4, **options: Any) -> Any:
    return d.WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=channels,
        out_channels=4,
        text_dim=TEXT,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=32,
        **options,
    )


@seeded
def wan(folder: Path) -> Path:
    return wan_of(folder, wan_network())


@seeded
def wan_2_2(folder: Path) -> Path:
    """Two networks, of which the second takes over in weak noise."""
    return wan_of(folder, wan_network(), transformer_2=wan_network(), boundary_ratio=0.7)


def wan_of(folder: Path, network: Any, kind: Any = d.WanPipeline, **more: Any) -> Path:
    autoencoder = d.AutoencoderKLWan(
        base_dim=4,
        z_dim=4,
        dim_mult=[1, 1, 2],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.1, 0.9, 1.3, 0.7],
        scale_factor_spatial=4,
    )
    return saved(
        folder,
        kind,
        **more,
        transformer=network,
        vae=autoencoder,
        text_encoder=t5(TEXT, "UMT5"),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@seeded
def ltx(folder: Path) -> Path:
    return ltx_of(folder, d.LTXPipeline)


@seeded
def ltx_timed(folder: Path) -> Path:
    """Its decoder removes noise, and is told of how much."""
    return ltx_of(folder, d.LTXPipeline, timestep_conditioning=True)


def ltx_of(folder: Path, kind: Any, **options: Any) -> Path:
    network = d.LTXVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=8,
        cross_attention_dim=32,
        num_layers=2,
        caption_channels=TEXT,
    )
    autoencoder = d.AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        patch_size=1,
        patch_size_t=1,
        **options,
    )
    return saved(
        folder,
        kind,
        transformer=network,
        vae=autoencoder,
        text_encoder=t5(TEXT),
        tokenizer=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.95,
            max_shift=2.05,
            base_image_seq_len=1024,
            max_image_seq_len=4096,
            shift_terminal=0.1,
        ),
    )


def conditioned_latents(pipe: Any, start: Tensor, options: dict[str, Any]) -> Tensor:
    """Of LTX with conditions, without any; it draws the start."""
    side = start.shape[-1] * pipe.vae_spatial_compression_ratio
    with mock.patch.object(pipeline_ltx_condition, "randn_tensor", return_value=start):
        return pipe(prompt=list(PROMPTS), height=side, width=side, num_frames=5, **options).frames


def video_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    options: dict[str, Any] = {"num_inference_steps": steps, "output_type": "latent"}
    if isinstance(pipe, d.LTXConditionPipeline):
        return conditioned_latents(pipe, start, options)
    if isinstance(pipe, d.LTXPipeline):
        shape = start.shape[2:]
        side = shape[-1] * pipe.vae_spatial_compression_ratio
        made = pipe(
            PROMPTS, latents=pipe._pack_latents(start), height=side, width=side, num_frames=5, **options
        ).frames
        return pipe._unpack_latents(made, *shape)
    return pipe(PROMPTS, latents=start, height=16, width=16, num_frames=5, **options).frames
