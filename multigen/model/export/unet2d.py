"""Our U-Net as diffusers' `UNet2DModel`, whose layers are the same in the cases that `differences` leaves over.

Its sines and cosines of the log-SNR become a table with a row for each of a thousand times, which diffusers looks up by
the index of its schedulers (`time_embedding_type="learned"`).
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.backbones.attention import Attention, AttentionBlock
from multigen.backbones.resampling import DownsampleConv, UpsampleConv
from multigen.backbones.residual import ResidualBlock, Stage
from multigen.backbones.unet import UNet
from multigen.codecs.pixels import Pixels
from multigen.errors import MultigenError
from multigen.model.model import Model
from multigen.storage.diffusers_folder import imported
from multigen.storage.files import write_json
from multigen.storage.pipeline_place import INDEX

TIMES = 1000
_PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
_VARIANCE = 1e-5  # how far alpha² + sigma² may be from 1


def write_unet(model: Model, folder: Path) -> None:
    """Write a `DDIMPipeline`. MultigenError says what of the model diffusers' has no layer for."""
    backbone = model.denoiser.backbone
    if not isinstance(backbone, UNet):
        raise MultigenError(
            f"{model.recipe.name}: its backbone {model.recipe.network.name} is no network of diffusers"
        )
    if rows := list(differences(model, backbone)):
        raise MultigenError(f"{model.recipe.name}: diffusers' UNet2DModel has not {'; nor '.join(rows)}")
    diffusers: Any = imported("diffusers")
    network = diffusers.UNet2DModel(**_config(model, backbone))
    network.load_state_dict(_state(model, backbone))
    network.save_pretrained(folder / "unet", safe_serialization=True)
    diffusers.DDIMScheduler(**_scheduler(model)).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "DDIMPipeline",
        "_diffusers_version": metadata.version("diffusers"),
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }
    write_json(folder / INDEX, index)


def differences(model: Model, backbone: UNet) -> Iterator[str]:
    """What a model has, and `UNet2DModel` and its pipeline have not."""
    if backbone.axes != 2:
        yield f"{backbone.axes} axes" if backbone.axes == 3 else "one axis"
    if backbone.cond.tokens:
        yield "attention to tokens inside the attention blocks (attention.cross_attention)"
    if backbone.cond.vector:
        yield "a vector in the noise embedding before its first activation (embed.vector)"
    if backbone.cond.grid:
        yield "channels for a mask or the stage before (enter)"
    yield from _layers(backbone)
    yield from _numbers(model)


def _layers(backbone: UNet) -> Iterator[str]:
    kernels = {m.kernel_size[-1] for m in backbone.modules() if isinstance(m, nn.Conv2d)}
    if not kernels <= {1, 3}:
        yield "kernels of another width than 3 (kernel)"
    groups = _groups(backbone)
    if len(groups) > 1:
        yield f"layers of several numbers of groups, {', '.join(map(str, sorted(groups)))} (groups={min(groups)})"
    if len(_head_widths(backbone)) > 1:
        yield "heads of several widths (head_width)"
    if backbone.embed.out.out_features != 4 * backbone.enter.out_channels:
        yield "an embedding of another width than four times the first level's (embedding)"
    if any(m.skip_scale != 1 for m in backbone.modules() if isinstance(m, ResidualBlock)):
        yield "scaled residual sums (skip_scale)"


def _numbers(model: Model) -> Iterator[str]:
    """What lies around the network: the schedule, the prediction and the codec."""
    alpha, sigma = model.denoiser.schedule(_times())
    if float((alpha.square() + sigma.square() - 1).abs().max()) > _VARIANCE:
        yield f"the schedule {model.recipe.schedule.name} for it (alpha² + sigma² = 1)"
    if model.denoiser.prediction.name not in _PREDICTIONS:
        yield f"the prediction {model.denoiser.prediction.name} for it ({', '.join(_PREDICTIONS)})"
    codec = model.codec
    if not isinstance(codec, Pixels) or codec.unshuffle != 1 or codec.scale != 1:
        yield "a codec (pixels, unshuffle 1, scale 1)"


def _times() -> Tensor:
    """The times that the indices of a scheduler stand for."""
    return (torch.arange(TIMES, dtype=torch.float64) + 1) / TIMES


def _groups(backbone: UNet) -> set[int]:
    return {m.num_groups for m in backbone.modules() if isinstance(m, nn.GroupNorm)}


def _head_widths(backbone: UNet) -> set[int]:
    return {m.query.out_features // m.heads for m in backbone.modules() if isinstance(m, Attention)}


# --- its configuration -------------------------------------------------------------------------------------------


def _config(model: Model, backbone: UNet) -> dict[str, Any]:
    levels = list(_levels(backbone.down))
    attends = [any(stage.attention is not None for stage in stages) for stages, _ in levels]
    widths = [stages[-1].residual.conv2.out_channels for stages, _ in levels]
    (groups,) = _groups(backbone)
    return {
        "sample_size": list(model.modality.shape()[-2:]),
        "in_channels": backbone.channels,
        "out_channels": backbone.leave.out_channels,
        "block_out_channels": widths,
        "layers_per_block": len(levels[0][0]),
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,  # of the middle, which has none otherwise
        "norm_eps": backbone.leave_norm.eps,
        "attention_head_dim": next(iter(_head_widths(backbone)), 8),
        "add_attention": any(attends),
        "resnet_time_scale_shift": "scale_shift",
        "time_embedding_type": "learned",
        "num_train_timesteps": TIMES,
    }


def _scheduler(model: Model) -> dict[str, Any]:
    alpha, _ = model.denoiser.schedule(_times())
    products = alpha.square()
    before = torch.cat([torch.ones(1, dtype=torch.float64), products[:-1]])
    return {
        "num_train_timesteps": TIMES,
        "trained_betas": (1 - products / before).clamp(0, 1).tolist(),
        "prediction_type": _PREDICTIONS[model.denoiser.prediction.name],
        "clip_sample": False,
        "timestep_spacing": "trailing",
    }


# --- its weights -------------------------------------------------------------------------------------------------


def _levels(layers: nn.ModuleList) -> Iterator[tuple[list[Stage], nn.Module | None]]:
    """The stages of each level in their order, and the layer between it and the next."""
    stages: list[Stage] = []
    for layer in layers:
        if isinstance(layer, Stage):
            stages.append(layer)
            continue
        yield stages, layer
        stages = []
    yield stages, None


def _state(model: Model, backbone: UNet) -> dict[str, Tensor]:
    state = {**_embedding(model, backbone)}
    state |= _named("conv_in", backbone.enter) | _named("conv_out", backbone.leave)
    state |= _named("conv_norm_out", backbone.leave_norm)
    for way, layers in (("down", backbone.down), ("up", backbone.up)):
        for level, (stages, between) in enumerate(_levels(layers)):
            place = f"{way}_blocks.{level}"
            for number, stage in enumerate(stages):
                state |= _stage(stage, place, number)
            if isinstance(between, DownsampleConv | UpsampleConv):
                state |= _named(f"{place}.{way}samplers.0.conv", between.conv)
    for number, stage in enumerate(backbone.middle):
        assert isinstance(stage, Stage)
        state |= _stage(stage, "mid_block", number)
    return state


def _embedding(model: Model, backbone: UNet) -> dict[str, Tensor]:
    embed = backbone.embed
    phase = model.denoiser.c_noise(_times())[:, None].float() * embed.frequencies.cpu()
    table = {"time_proj.weight": torch.cat([phase.cos(), phase.sin()], dim=1)}
    return (
        table | _named("time_embedding.linear_1", embed.noise) | _named("time_embedding.linear_2", embed.out)
    )


def _stage(stage: Stage, place: str, number: int) -> dict[str, Tensor]:
    block = stage.residual
    into = f"{place}.resnets.{number}"
    layers: dict[str, nn.Module] = {
        "norm1": block.norm1, "conv1": block.conv1, "norm2": block.norm2, "conv2": block.conv2,
    }  # fmt: skip
    if block.film is not None:
        layers["time_emb_proj"] = block.film
    if isinstance(block.shortcut, nn.Conv2d):
        layers["conv_shortcut"] = block.shortcut
    state = {k: v for name, layer in layers.items() for k, v in _named(f"{into}.{name}", layer).items()}
    if stage.attention is not None:
        state |= _attention(stage.attention, f"{place}.attentions.{number}")
    return state


def _attention(block: AttentionBlock, into: str) -> dict[str, Tensor]:
    layer = block.attention
    state = _named(f"{into}.group_norm", block.norm) | _named(f"{into}.to_q", layer.query)
    for kind, tensor in layer.key_value.state_dict().items():
        state[f"{into}.to_k.{kind}"], state[f"{into}.to_v.{kind}"] = tensor.chunk(2)
    return state | _named(f"{into}.to_out.0", layer.out)


def _named(name: str, layer: nn.Module) -> dict[str, Tensor]:
    return {f"{name}.{kind}": tensor for kind, tensor in layer.state_dict().items()}
