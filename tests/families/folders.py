"""Tiny pipelines of every family, random weights on disk as diffusers writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.model.pipelines import WORDS, clip_tokenizer, edit, stir, tiny_pipeline

import diffusers as d  # isort: skip  # after tests.model.pipelines, which makes torchaudio importable
import transformers as t  # isort: skip

SIZE = 16  # pixels: latents of 8 x 8
TEXT = 32  # width of the text encoders


def clip_config(tokenizer: Any) -> Any:
    return t.CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=TEXT,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5_tokenizer() -> Any:
    """Every letter and some words, as SentencePiece has them."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS), *map(chr, range(33, 127))]
    return t.T5Tokenizer(vocab=[(piece, -float(k)) for k, piece in enumerate(pieces)], extra_ids=0)


def t5(width: int, kind: str = "T5") -> Any:
    config = getattr(t, f"{kind}Config")(
        vocab_size=120, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, is_encoder_decoder=False
    )
    return getattr(t, f"{kind}EncoderModel")(config)


def vae(**options: Any) -> Any:
    usual: dict[str, Any] = {
        "block_out_channels": (16, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "latent_channels": 4,
        "sample_size": SIZE,
        "scaling_factor": 0.3,
    }
    return d.AutoencoderKL(**usual | options)


def unet(**options: Any) -> Any:
    usual: dict[str, Any] = {
        "sample_size": 8,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": TEXT,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return d.UNet2DConditionModel(**usual | options)


def saved(folder: Path, kind: Any, **components: Any) -> Path:
    """Stir the networks, and write the pipeline."""
    for module in components.values():
        if isinstance(module, nn.Module):
            stir(module)
    kind(**components).save_pretrained(folder, safe_serialization=True)
    return folder


def seeded(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def made(folder: Path) -> Path:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make(folder)

    return made


def stable_diffusion(folder: Path) -> Path:
    return tiny_pipeline(folder)


def stable_diffusion_2(folder: Path) -> Path:
    """v prediction, zero terminal SNR, trailing steps."""
    return tiny_pipeline(
        folder,
        _class_name="DDIMScheduler",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        set_alpha_to_one=True,
    )


def latent_unet(tokenizer_folder: Path, **options: Any) -> dict[str, Any]:
    tokenizer = clip_tokenizer(tokenizer_folder)
    return {
        "unet": unet(**options),
        "vae": vae(),
        "text_encoder": t.CLIPTextModel(clip_config(tokenizer)),
        "tokenizer": tokenizer,
        "safety_checker": None,
        "feature_extractor": None,
    }


@seeded
def inpainting(folder: Path) -> Path:
    parts = latent_unet(folder / "tokenizer", in_channels=9)
    scheduler = d.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
    )
    return saved(folder, d.StableDiffusionInpaintPipeline, scheduler=scheduler, **parts)


@seeded
def latent_consistency(folder: Path) -> Path:
    parts = latent_unet(folder / "tokenizer", time_cond_proj_dim=16)
    scheduler = d.LCMScheduler(clip_sample=False)
    return saved(folder, d.LatentConsistencyModelPipeline, scheduler=scheduler, **parts)


def xl_scheduler() -> Any:
    return d.EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
        steps_offset=1,
    )


@seeded
def stable_diffusion_xl(folder: Path) -> Path:
    tokenizer = clip_tokenizer(folder / "tokenizer")
    network = unet(
        cross_attention_dim=2 * TEXT,
        transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=TEXT + 6 * 8,
    )
    return saved(
        folder,
        d.StableDiffusionXLPipeline,
        unet=network,
        vae=vae(),
        text_encoder=t.CLIPTextModel(clip_config(tokenizer)),
        text_encoder_2=t.CLIPTextModelWithProjection(clip_config(tokenizer)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        scheduler=xl_scheduler(),
    )


@seeded
def stable_diffusion_3(folder: Path) -> Path:
    tokenizer = clip_tokenizer(folder / "tokenizer")
    transformer = d.SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=80,
        caption_projection_dim=32,
        pooled_projection_dim=2 * TEXT,
        out_channels=4,
        pos_embed_max_size=12,
    )
    return saved(
        folder,
        d.StableDiffusion3Pipeline,
        transformer=transformer,
        vae=vae(shift_factor=0.1),
        text_encoder=t.CLIPTextModelWithProjection(clip_config(tokenizer)),
        text_encoder_2=t.CLIPTextModelWithProjection(clip_config(tokenizer)),
        text_encoder_3=t5(80),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


@seeded
def flux(folder: Path) -> Path:
    tokenizer = clip_tokenizer(folder / "tokenizer")
    transformer = d.FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=TEXT,
        pooled_projection_dim=TEXT,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    saved(
        folder,
        d.FluxPipeline,
        transformer=transformer,
        vae=vae(shift_factor=0.1),
        text_encoder=t.CLIPTextModel(clip_config(tokenizer)),
        text_encoder_2=t5(TEXT),
        tokenizer=tokenizer,
        tokenizer_2=t5_tokenizer(),
        scheduler=d.FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )
    edit(folder / "transformer" / "config.json", {"sample_size": 8})  # which the real one leaves at 128
    return folder


@seeded
def unconditional(folder: Path) -> Path:
    network = d.UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
    )
    return saved(folder, d.DDIMPipeline, unet=network, scheduler=d.DDIMScheduler())


@seeded
def consistency_model(folder: Path) -> Path:
    network = d.UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "ResnetUpsampleBlock2D"),
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        num_class_embeds=3,
    )
    scheduler = d.CMStochasticIterativeScheduler()
    return saved(folder, d.ConsistencyModelPipeline, unet=network, scheduler=scheduler)


@seeded
def refiner(folder: Path) -> Path:
    """Of Stable Diffusion XL: OpenCLIP alone, and scores in place of the target size."""
    tokenizer = clip_tokenizer(folder / "tokenizer_2")
    network = unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=TEXT + 5 * 8,
    )
    return saved(
        folder,
        d.StableDiffusionXLImg2ImgPipeline,
        unet=network,
        vae=vae(),
        text_encoder=None,
        text_encoder_2=t.CLIPTextModelWithProjection(clip_config(tokenizer)),
        tokenizer=None,
        tokenizer_2=tokenizer,
        scheduler=xl_scheduler(),
        requires_aesthetics_score=True,
        force_zeros_for_empty_prompt=False,
    )


def vision(width: int = TEXT) -> Any:
    """CLIP's image encoder, of pictures of 16 x 16."""
    return t.CLIPVisionModelWithProjection(
        t.CLIPVisionConfig(
            hidden_size=32,
            projection_dim=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            image_size=SIZE,
            patch_size=8,
            intermediate_size=37,
        )
    )


def prior(width: int = TEXT) -> Any:
    made = d.PriorTransformer(
        num_attention_heads=2, attention_head_dim=12, embedding_dim=width, num_layers=1, num_embeddings=77
    )
    with torch.no_grad():
        made.clip_mean.add_(0.3 * torch.randn(1, width))
        made.clip_std.mul_(0.7)
    return made


def text(tokenizer: Any, width: int = TEXT) -> Any:
    config = clip_config(tokenizer)
    config.hidden_size = config.projection_dim = width
    return t.CLIPTextModelWithProjection(config)


PRIOR_SCHEDULER = {"prediction_type": "sample", "clip_sample_range": 5.0, "variance_type": "fixed_small_log"}


def prior_of(width: int) -> Callable[[Path], Path]:
    """A prior of Kandinsky whose embeddings have so many numbers."""

    @seeded
    def make(folder: Path) -> Path:
        tokenizer = clip_tokenizer(folder / "tokenizer")
        return saved(
            folder,
            d.KandinskyV22PriorPipeline,
            prior=prior(width),
            image_encoder=vision(width),
            text_encoder=text(tokenizer, width),
            tokenizer=tokenizer,
            scheduler=d.UnCLIPScheduler(**PRIOR_SCHEDULER),
            image_processor=t.CLIPImageProcessor(size=SIZE, crop_size=SIZE),
        )

    return make


def kandinsky_prior(folder: Path) -> Path:
    return prior_of(TEXT)(folder)


@seeded
def kandinsky(folder: Path) -> Path:
    """The decoder; its prior stands beside it."""
    kandinsky_prior(folder.with_name("prior"))
    network = unet(
        in_channels=4,
        out_channels=8,
        addition_embed_type="image",
        encoder_hid_dim_type="image_proj",
        encoder_hid_dim=TEXT,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        resnet_time_scale_shift="scale_shift",
    )
    movq = d.VQModel(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )
    scheduler = d.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=True, steps_offset=0
    )
    return saved(folder, d.KandinskyV22Pipeline, unet=network, movq=movq, scheduler=scheduler)


def stable_unclip_parts(folder: Path) -> dict[str, Any]:
    normalizer = d.pipelines.stable_diffusion.StableUnCLIPImageNormalizer(embedding_dim=TEXT)
    parts = latent_unet(
        folder / "tokenizer", class_embed_type="projection", projection_class_embeddings_input_dim=2 * TEXT
    )
    del parts["safety_checker"], parts["feature_extractor"]
    return {
        **parts,
        "image_normalizer": normalizer,
        "image_noising_scheduler": d.DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        "scheduler": d.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            steps_offset=1,
        ),
    }


@seeded
def stable_unclip(folder: Path) -> Path:
    tokenizer = clip_tokenizer(folder / "prior_tokenizer")
    return saved(
        folder,
        d.StableUnCLIPPipeline,
        prior_tokenizer=tokenizer,
        prior_text_encoder=text(tokenizer),
        prior=prior(),
        prior_scheduler=d.DDPMScheduler(beta_schedule="squaredcos_cap_v2", **PRIOR_SCHEDULER),
        **stable_unclip_parts(folder),
    )


@seeded
def stable_unclip_variation(folder: Path) -> Path:
    return saved(
        folder,
        d.StableUnCLIPImg2ImgPipeline,
        feature_extractor=t.CLIPImageProcessor(size=SIZE, crop_size=SIZE),
        image_encoder=vision(),
        **stable_unclip_parts(folder),
    )


@seeded
def unclip(folder: Path) -> Path:
    """Prior, decoder of 8 x 8 pixels, upscaler to 16 x 16; there is an image encoder, too."""
    from diffusers.pipelines.deprecated.unclip import UnCLIPTextProjModel

    tokenizer = clip_tokenizer(folder / "tokenizer")
    decoder = d.UNet2DConditionModel(
        sample_size=8,
        in_channels=3,
        out_channels=6,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        cross_attention_dim=24,
        attention_head_dim=4,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        class_embed_type="identity",
    )
    upscaler: dict[str, Any] = {
        "sample_size": 16,
        "in_channels": 6,
        "out_channels": 6,
        "block_out_channels": (32, 64),
        "layers_per_block": 1,
        "down_block_types": ("ResnetDownsampleBlock2D",) * 2,
        "up_block_types": ("ResnetUpsampleBlock2D",) * 2,
        "norm_num_groups": 8,
        "resnet_time_scale_shift": "scale_shift",
    }
    projection = UnCLIPTextProjModel(clip_embeddings_dim=TEXT, time_embed_dim=128, cross_attention_dim=24)
    with torch.no_grad():
        projection.learned_classifier_free_guidance_embeddings.add_(torch.randn(TEXT))
    saved(
        folder,
        d.UnCLIPPipeline,
        prior=prior(),
        decoder=decoder,
        text_encoder=text(tokenizer),
        tokenizer=tokenizer,
        text_proj=projection,
        super_res_first=d.UNet2DModel(**upscaler),
        super_res_last=d.UNet2DModel(**upscaler),
        prior_scheduler=d.UnCLIPScheduler(**PRIOR_SCHEDULER),
        decoder_scheduler=d.UnCLIPScheduler(variance_type="learned_range"),
        super_res_scheduler=d.UnCLIPScheduler(variance_type="learned_range"),
    )
    edit(folder / "model_index.json", {"text_proj": ["unclip", "UnCLIPTextProjModel"]})  # as published
    return folder
