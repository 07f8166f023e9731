"""ControlNets: networks that lead a U-Net by a picture (Zhang et al. 2023, arXiv:2302.05543).

F(x, t, c) with r_k + sum_i w_i r_k,i in place of each skip connection r_k, and of the middle's: r_k,i is what
ControlNet i makes of x, t, c and its picture (section 3.2).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from multigen.core.backbone import Control
from multigen.errors import MultigenError
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Frozen

# What a ControlNet and the U-Net that it leads have in common, and what is meant where it is not stated.
_COMMON = {
    "block_out_channels": (320, 640, 1280, 1280),
    "cross_attention_dim": 1280,
    "layers_per_block": 2,
    "addition_embed_type": None,
}


class Controlled:
    """A UNet2DConditionModel, called as itself, with ControlNets beside it.

    factor  pixels of a latent along each side

    MultigenError for a folder that is no ControlNet, or one of another network.
    """

    def __init__(self, network: Any, controls: Sequence[Control], factor: int) -> None:
        self._network, self._factor = network, factor
        self._controls = [(_load(control, network.config), control) for control in controls]

    def __call__(
        self, x: Tensor, c_noise: Tensor, tokens: Tensor, *, encoder_attention_mask: Tensor, **options: Any
    ) -> Any:
        """x [B, C, H, W] as the U-Net takes it, c_noise [B], tokens [B, L, K] -> what the U-Net returns."""
        down: list[Tensor] | None = None
        middle: Any = None
        for net, control in self._controls:
            net = net.on(x.device)
            rows, centre = residuals(
                net, x, c_noise, tokens, control.picture[None], self._factor, options, control.weight
            )
            down = list(rows) if down is None else [a + b for a, b in zip(down, rows, strict=True)]
            middle = centre if middle is None else middle + centre
        return self._network(
            x,
            c_noise,
            tokens,
            encoder_attention_mask=encoder_attention_mask,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **options,
        )


def residuals(
    net: Any,
    x: Tensor,
    c_noise: Tensor,
    tokens: Tensor,
    picture: Tensor,
    factor: int,
    options: Mapping[str, Any],
    weight: float = 1.0,
) -> tuple[Sequence[Tensor], Tensor]:
    """Return what a ControlNet adds to the skip connections of its U-Net, and to its middle.

    x [B, C, H, W], c_noise [B], tokens [B, L, K] as the U-Net takes them; picture [B, 3, h, w], or one for all, in
    [-1, 1], which is brought to the size of what is made; `factor` pixels are a latent; `options` are the U-Net's.
    """
    size = [side * factor for side in x.shape[2:]]
    seen = (picture.to(x) + 1) / 2
    if list(seen.shape[2:]) != size:
        seen = F.interpolate(seen, size=size, mode="bilinear", antialias=True)
    return net(
        x[:, : net.config["in_channels"]],
        c_noise,
        tokens,
        controlnet_cond=seen.expand(len(x), *seen.shape[1:]),
        conditioning_scale=weight,
        return_dict=False,
        **{name: options[name] for name in ("timestep_cond", "added_cond_kwargs")},
    )


def _load(control: Control, unet: Any) -> Frozen:
    """A ControlNet, loaded when it is first used. MultigenError for one of another network."""
    folder = Path(control.path).expanduser()
    config = diffusers_folder.read_json(folder / "config.json")
    if config.get("_class_name") != "ControlNetModel":
        raise MultigenError(
            f"adapters: {folder}: {config.get('_class_name')} is not allowed. Allowed: ControlNetModel."
        )
    for key, usual in _COMMON.items():
        theirs, ours = _plain(config.get(key, usual)), _plain(unet[key])
        if theirs != ours:
            raise MultigenError(
                f"adapters: {folder} is a ControlNet of another network: {key} {theirs}, and {ours} here"
            )
    return Frozen(functools.partial(diffusers_folder.lone_network, folder, "ControlNetModel"))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
