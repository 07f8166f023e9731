"""The U-Net of a Stable Diffusion pipeline, from its folder in diffusers' format."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.core.backbone import Backbone, Taps
from multigen.core.conditioning import Cond, CondSpec
from multigen.registry import Given
from multigen.storage import diffusers_folder

# Settings of networks that want more than x, an index and tokens: SDXL, LCM, IP-Adapter ...
_MORE = (
    "addition_embed_type",
    "class_embed_type",
    "encoder_hid_dim",
    "num_class_embeds",
    "time_cond_proj_dim",
)


class Diffusers(Backbone):
    """F(x [B, C, H, W], c_noise [B], cond) -> [B, C, H, W], a UNet2DConditionModel with its trained weights.

    path: the pipeline's folder (its `unet` is taken), or its id on the hub (owner/name)

    c_noise is the index in the table that it was trained with. ValueError if the network does not fit the codec and
    the conditioner, or wants more than tokens (SDXL, inpainting).
    """

    by_index = True
    pretrained = True  # its weights come with it
    published = ("unet.", "network.")  # how names of layers begin outside, and here

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
        more = [name for name in _MORE if config.get(name) is not None]
        if more:
            raise ValueError(
                f"path: {path}: this network wants more than a prompt's tokens ({more[0]}), as SDXL's do"
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
        self.network: Any = self._network(folder, config)
        self._blocks = [
            n for n, m in self.network.named_modules() if type(m).__name__ == "Transformer2DModel"
        ]
        self._blocks.sort(key=_place)
        self.attentions = len(self._blocks)
        self.deepest = next((k for k, n in enumerate(self._blocks) if not n.startswith("down")), 0)

    @staticmethod
    def _network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
        """With its weights; without them on the meta device, for a look at whether the recipe fits."""
        if not torch.empty(0).is_meta:
            return diffusers_folder.network(folder, "unet")
        try:
            return diffusers_folder.imported("diffusers").UNet2DConditionModel.from_config(config)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{folder / 'unet'}: its config.json describes no network ({error})") from error

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, taps: Taps | None = None) -> Tensor:
        """x [B, C, H, W], c_noise [B] from 0 to one below the table's length, cond.tokens [B, L, K] -> as x."""
        with self._tapped(taps):
            (out,) = self.network(
                x, c_noise, cond.tokens, encoder_attention_mask=cond.mask, return_dict=False
            )
        return out

    @contextmanager
    def _tapped(self, taps: Taps | None) -> Iterator[None]:
        """Hooks for what this call asks of attention, gone after it."""
        if taps is None:
            yield
            return
        with ExitStack() as hooks:
            for number, name in enumerate(self._blocks):
                block = self.network.get_submodule(name)
                if number in taps.skipped:
                    hooks.enter_context(_hooked(block, _passed_by, with_kwargs=True))
                if number in taps.undone:
                    for layer in block.transformer_blocks:
                        hooks.enter_context(_hooked(layer.attn1, _own_place, with_kwargs=True))
                if taps.maps is not None:
                    hooks.enter_context(_watched(block, number, taps.maps.found))
            yield


def _place(name: str) -> tuple[int, str]:
    """Down, middle, up: the order in which x meets the blocks, which is not that of the attributes."""
    return ("down_blocks", "mid_block", "up_blocks").index(name.partition(".")[0]), name


@contextmanager
def _hooked(module: nn.Module, hook: Any, *, with_kwargs: bool = False) -> Iterator[None]:
    handle = module.register_forward_hook(hook, with_kwargs=with_kwargs)
    try:
        yield
    finally:
        handle.remove()


def _passed_by(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """The block's input in place of its output."""
    x = args[0] if args else kwargs["hidden_states"]
    return (x, *output[1:])


def _own_place(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
    """What attention whose map is the identity answers: each place its own value."""
    x = args[0] if args else kwargs["hidden_states"]
    return attention.to_out[0](attention.to_v(x))


@contextmanager
def _watched(block: Any, number: int, found: dict[int, Tensor]) -> Iterator[None]:
    """Keep the shares that each place takes from each token, [B, L, 1, H, W], the mean of the heads."""
    size: list[int] = []

    def entered(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        size[:] = (args[0] if args else kwargs["hidden_states"]).shape[2:]

    def attended(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        x = args[0] if args else kwargs["hidden_states"]
        tokens, mask = kwargs["encoder_hidden_states"], kwargs.get("attention_mask")
        q, k = (attention.head_to_batch_dim(p) for p in (attention.to_q(x), attention.to_k(tokens)))
        if mask is not None:
            mask = attention.prepare_attention_mask(mask, tokens.shape[1], len(x))
        shares = attention.get_attention_scores(q, k, mask).float().unflatten(0, (len(x), -1)).mean(1)
        found[number] = shares.transpose(1, 2).unflatten(2, (1, *size))

    before = block.register_forward_pre_hook(entered, with_kwargs=True)
    try:
        with _hooked(block.transformer_blocks[-1].attn2, attended, with_kwargs=True):
            yield
    finally:
        before.remove()
