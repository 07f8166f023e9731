"""ControlNets: networks that lead a U-Net by a picture (Zhang et al. 2023, arXiv:2302.05543).

F(x, t, c) with r_k + sum_i w_i r_k,i in place of each skip connection r_k, and of the middle's: r_k,i is what
ControlNet i makes of x, t, c and its picture (section 3.2).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.backbones.adapter import Adapter
from multigen.core.backbone import Control, Lead
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
# What the U-Net has been told so far of its skip connections and of its middle.
_DOWN, _MIDDLE = "down_block_additional_residuals", "mid_block_additional_residual"


class ControlNet(Adapter):
    """A ControlNet of a UNet2DConditionModel.

    factor  pixels of a latent along each side

    MultigenError for a folder that is no ControlNet, or one of another network.
    """

    def __init__(self, control: Control, network: Any, factor: int) -> None:
        self._net, self._weight, self._factor = _load(control, network.config), control.weight, factor

    def lead(self, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """Bring a picture [3, H, W] to the size of what is made, in [0, 1]: [1, 3, *size]."""
        picture = fitted(picture[None], shape, self._factor)
        return Lead(picture, picture)

    @contextmanager
    def leading(self, network: Any, told: Tensor) -> Iterator[None]:
        """Add to what the U-Net is told what the ControlNet makes of x, t, c and told [B, 3, H, W]."""
        with led_by(network, self._net.on, told, self._weight):
            yield


def fitted(picture: Tensor, shape: tuple[int, ...], factor: int) -> Tensor:
    """Bring pictures [B, 3, H, W] in [-1, 1] to the size of samples of `shape`, in [0, 1], `factor` pixels a latent."""
    size = [side * factor for side in shape[-2:]]
    picture = (picture + 1) / 2
    if list(picture.shape[2:]) != size:
        picture = F.interpolate(picture, size=size, mode="bilinear", antialias=True)
    return picture


@contextmanager
def led_by(
    network: Any, net: Callable[[torch.device], Any], told: Tensor, weight: float = 1.0
) -> Iterator[None]:
    """Inside the block a U-Net is told what a ControlNet makes of x, t, c and told [B, 3, H, W] in [0, 1], too.

    net  the ControlNet on a device
    """

    def enter(_: Any, args: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        x, c_noise, tokens = args
        control = net(x.device)
        rows, middle = control(
            x[:, : control.config["in_channels"]],
            c_noise,
            tokens,
            controlnet_cond=told.to(x),
            conditioning_scale=weight,
            return_dict=False,
            timestep_cond=options["timestep_cond"],
            added_cond_kwargs=options["added_cond_kwargs"],
        )
        if _DOWN in options:
            rows = [a + b for a, b in zip(options[_DOWN], rows, strict=True)]
            middle = options[_MIDDLE] + middle
        return args, {**options, _DOWN: list(rows), _MIDDLE: middle}

    handle = network.register_forward_pre_hook(enter, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _load(control: Control, unet: Any) -> Frozen:
    """A ControlNet, loaded when it is first used. MultigenError for one of another network."""
    folder = Path(control.path).expanduser()
    if not (folder / "config.json").is_file():
        what = "it has no config.json" if folder.is_dir() else "no such folder"
        raise MultigenError(
            f"adapters: {folder}: {what}. Give one in diffusers' format, of a ControlNetModel."
        )
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
