"""The U-Net of a Stable Diffusion pipeline, from a folder in diffusers' format."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.backbones.diffusers_taps import tapped
from multigen.core.backbone import Backbone, Taps
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import reason
from multigen.registry import Given
from multigen.storage import diffusers_folder

# Settings of networks that need more than x, an index and tokens: SDXL, LCM, IP-Adapter ...
_UNSUPPORTED = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim",
    "num_class_embeds",
    "time_cond_proj_dim",
)


class Diffusers(Backbone):
    """F(x [B, C, H, W], c_noise [B], cond) -> [B, C, H, W]: a UNet2DConditionModel with its trained weights.

    axes          2
    channels      C of the codec, which must be the network's
    out_channels  C of the output, likewise
    cond          widths of the conditions, which must be the network's tokens alone
    path          the pipeline's folder, whose `unet` is used, or its id on the hub (owner/name)

    c_noise is the index in the table that it was trained with. Raises ValueError if the network does not fit the codec
    and the conditioner, or needs more than tokens (SDXL, inpainting).
    """

    by_index = True
    pretrained = True
    published = ("unet.", "network.")

    def __init__(
        self,
        *,
        axes: Given[int],
        channels: Given[int],
        out_channels: Given[int],
        cond: Given[CondSpec],
        path: str | None = None,
    ) -> None:
        super().__init__()
        folder = diffusers_folder.located(path)
        config = diffusers_folder.component(folder, "unet")
        more = [name for name in _UNSUPPORTED if config.get(name) is not None]
        if more:
            raise ValueError(
                f"path: {path}: this network needs more than a prompt's tokens ({more[0]}), as SDXL's does"
            )
        entry = functools.partial(diffusers_folder.entry, config, folder / "unet")
        wanted = {
            "axes": (2, axes),
            "channels": (entry("in_channels", int, 4), channels),
            "out_channels": (entry("out_channels", int, 4), out_channels),
            "tokens": (entry("cross_attention_dim", int, 1280), cond.tokens),
            "vector": (0, cond.vector),
            "grid": (0, cond.grid),
        }
        for name, (takes, given) in wanted.items():
            if takes != given:
                raise ValueError(
                    f"path: {path}: this network takes {name} {takes}; codec and conditioner give {given}"
                )
        self.folder = folder
        self.network: Any = self._network(folder, config)
        kind = diffusers_folder.imported("diffusers").Transformer2DModel
        self._blocks = [n for n, m in self.network.named_modules() if isinstance(m, kind)]
        self._blocks.sort(key=_place)
        self.attentions = len(self._blocks)
        self.deepest = next((k for k, n in enumerate(self._blocks) if not n.startswith("down")), 0)

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Its network, by its name in the pipeline."""
        return {"unet": self.network}

    def attention_modules(self) -> list[str]:
        """List the names of diffusers' attention modules."""
        diffusers_folder.imported("diffusers")
        kind = importlib.import_module("diffusers.models.attention_processor").Attention
        return [name for name, module in self.named_modules() if isinstance(module, kind)]

    @staticmethod
    def _network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
        """The network with its weights, or without them on the meta device, where a recipe is checked."""
        if not torch.empty(0).is_meta:
            return diffusers_folder.network(folder, "unet")
        try:
            return diffusers_folder.imported("diffusers").UNet2DConditionModel.from_config(config)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{folder / 'unet'}: its config.json describes no network ({reason(error)})"
            ) from error

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, taps: Taps | None = None) -> Tensor:
        """x [B, C, H, W], c_noise [B] from 0 to N - 1, cond.tokens [B, L, K] -> F [B, C, H, W]."""
        blocks = [self.network.get_submodule(name) for name in self._blocks]
        with tapped(blocks, taps):
            (out,) = self.network(
                x, c_noise, cond.tokens, encoder_attention_mask=cond.mask, return_dict=False
            )
        return out


def _place(name: str) -> tuple[int, str]:
    """Order of the blocks as x passes them: down, middle, up. The order of the attributes differs."""
    return ("down_blocks", "mid_block", "up_blocks").index(name.partition(".")[0]), name
