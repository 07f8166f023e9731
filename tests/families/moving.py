"""Tiny pipelines of sound and video, random weights on disk as diffusers writes them, and calls of theirs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.families.folders import TEXT, saved, seeded, t5, t5_tokenizer

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable

PROMPTS = ["a red apple", "blue car, lighthouse on the left"]


@seeded
def stable_audio(folder: Path) -> Path:
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
        scheduler=d.CosineDPMSolverMultistepScheduler(),
    )


def stable_audio_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    options = {"audio_end_in_s": 0.05, "num_inference_steps": steps, "output_type": "latent"}
    return pipe(PROMPTS, latents=start, **options).audios
