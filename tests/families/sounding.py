"""Tiny pipelines of sound through a mel spectrogram, random weights on disk as diffusers writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from tests.families.folders import TEXT, saved, seeded, t5, t5_tokenizer
from tests.families.moving import PROMPTS

import diffusers as d  # isort: skip  # after tests.families.folders, which makes torchaudio importable
import transformers as t  # isort: skip

BINS, HOP, ROWS = 16, 4, 8  # mel bins, samples of a frame, places of a latent along the mel axis
CHANNELS = 4


def roberta_tokenizer() -> Any:
    """Bytes, without merges."""
    letters = [chr(c) for c in range(33, 127)] + ["Ġ"]
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters]
    tokenizer = t.RobertaTokenizer(vocab={piece: k for k, piece in enumerate(vocabulary)}, merges=[])
    tokenizer.model_max_length = 40
    return tokenizer


def clap() -> Any:
    text = t.ClapTextConfig(
        vocab_size=100,
        hidden_size=TEXT,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=50,
        projection_dim=24,
    )
    sound = t.ClapAudioConfig(
        spec_size=8,
        window_size=4,
        num_mel_bins=8,
        patch_size=2,
        depths=[2, 2],
        num_attention_heads=[2, 2],
        hidden_size=16,
        patch_embeds_hidden_size=8,
        projection_dim=24,
    )
    return t.ClapModel(
        t.ClapConfig(text_config=text.to_dict(), audio_config=sound.to_dict(), projection_dim=24)
    )


def vocoder() -> Any:
    config = t.SpeechT5HifiGanConfig(
        model_in_dim=BINS,
        sampling_rate=1600,
        upsample_initial_channel=16,
        upsample_rates=[2, 2],
        upsample_kernel_sizes=[4, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )
    return t.SpeechT5HifiGan(config)


def parts() -> dict[str, Any]:
    vae = d.AutoencoderKL(
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=CHANNELS,
        scaling_factor=0.3,
    )
    scheduler = d.DDIMScheduler(
        beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return {
        "vae": vae,
        "scheduler": scheduler,
        "text_encoder": clap(),
        "tokenizer": roberta_tokenizer(),
        "feature_extractor": t.ClapFeatureExtractor(feature_size=8),
        "vocoder": vocoder(),
    }


@seeded
def audioldm2(folder: Path) -> Path:
    from diffusers.pipelines.audioldm2 import AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel

    network = AudioLDM2UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=((None, 20, TEXT), (None, 20, TEXT)),
        attention_head_dim=4,
    )
    words = t5_tokenizer()
    words.model_max_length = 60
    config = t.GPT2Config(
        n_embd=20, n_layer=2, n_head=2, vocab_size=50, n_positions=90, bos_token_id=0, eos_token_id=1
    )
    config.max_new_tokens = 3
    return saved(
        folder,
        d.AudioLDM2Pipeline,
        unet=network,
        text_encoder_2=t5(TEXT),
        tokenizer_2=words,
        projection_model=AudioLDM2ProjectionModel(24, TEXT, 20),
        language_model=t.GPT2LMHeadModel(config),
        **parts(),
    )


@seeded
def musicldm(folder: Path) -> Path:
    network = d.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=(16, 32),
        attention_head_dim=4,
        class_embed_type="simple_projection",
        projection_class_embeddings_input_dim=24,
        class_embeddings_concat=True,
    )
    return saved(folder, d.MusicLDMPipeline, unet=network, **parts())


def unfolded(x: Tensor) -> Tensor:
    return rearrange(x, "b (c f) t -> b c t f", f=ROWS)


def folded(x: Tensor) -> Tensor:
    return rearrange(x, "b c t f -> b (c f) t")


@torch.no_grad()
def audioldm2_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """One prompt at a time, the empty one by itself, too: see the family."""
    nothing = pipe.encode_prompt([""], "cpu", 1, False)
    out = []
    for prompt, row in zip(PROMPTS, start.split(1), strict=True):
        told = pipe.encode_prompt([prompt], "cpu", 1, False)
        length = told[0].shape[1]
        names = ("prompt_embeds", "attention_mask", "generated_prompt_embeds")
        padded = (
            torch.nn.functional.pad(nothing[0], (0, 0, 0, length - nothing[0].shape[1])),
            torch.nn.functional.pad(nothing[1], (0, length - nothing[1].shape[1])),
            nothing[2],
        )
        given = dict(zip(names, told, strict=True))
        given |= {f"negative_{name}": value for name, value in zip(names, padded, strict=True)}
        options = {"audio_length_in_s": 0.04, "num_inference_steps": steps, "output_type": "latent"}
        out.append(pipe(latents=unfolded(row), **given, **options).audios)
    return folded(torch.cat(out))


@torch.no_grad()
def musicldm_latents(pipe: Any, start: Tensor, steps: int) -> Tensor:
    """By hand: the pipeline is deprecated, and takes CLAP's output of an older transformers."""
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    words = pipe.tokenizer([*PROMPTS, "", ""], max_length=40, **options)
    text = pipe.text_encoder.get_text_features(
        words.input_ids, attention_mask=words.attention_mask
    ).pooler_output
    pipe.scheduler.set_timesteps(steps)
    x = unfolded(start)
    for time in pipe.scheduler.timesteps:
        told, untold = pipe.unet(torch.cat([x, x]), time, None, class_labels=text).sample.chunk(2)
        x = pipe.scheduler.step(untold + 2.0 * (told - untold), time, x).prev_sample
    return folded(x)
