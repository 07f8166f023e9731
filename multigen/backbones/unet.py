"""One U-Net for one, two and three axes.

It has the shape of DDPM (Ho et al. 2020, arXiv:2006.11239, appendix B) with the scale-shift conditioning and the
attention at several levels of ADM (Dhariwal & Nichol 2021, arXiv:2105.05233, section 3). It pads its input to its
stride and crops the output, so that every size works. No operation mixes the samples of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recompute

from multigen.backbones.attention import Attention, AttentionBlock
from multigen.backbones.layers import Context, conv, convolved, fold, norm, unfold, zeroed
from multigen.backbones.noise_embedding import NoiseEmbedding
from multigen.backbones.resampling import DownsampleConv, UpsampleConv
from multigen.backbones.residual import Stage, activated
from multigen.backbones.unet_arguments import check_positive, check_unet
from multigen.backbones.winograd import samples_on_cpu
from multigen.core.backbone import Backbone, Taps
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.deep import Deep
from multigen.registry import Given

_GUIDANCE = "embed.guidance.weight"
_SMOOTH = {1: "linear", 2: "bilinear", 3: "trilinear"}


class UNet(Backbone):
    """F(x [B, C, *D], c_noise [B], cond) -> [B, C', *D]; its output is zero before training.

    axes           1 for audio, 2 for images, 3 for video (time first, never downsampled)
    channels       C, without the channels of cond.grid
    out_channels   C'
    cond           widths of the conditions: vector, tokens, grid
    widths         channels of each level; every level but the first halves the axes
    blocks         residual blocks of each encoder level; the decoder has one more
    attention      whether each level attends; the middle does if any level does. Default: the last level alone
    head_width     narrowest head of attention, in channels
    kernel         width of the residual blocks' convolutions, odd
    embedding      width of the noise embedding; default: four times the first level's
    groups         most groups of a normalisation, each of four channels or more
    dropout        share of activations dropped in each residual block
    skip_scale     factor of each residual sum; sqrt(0.5) keeps the variance (Song et al. 2021, arXiv:2011.13456,
                   appendix H)
    start_at_grid  before training the output is the first C' channels of cond.grid, not zero: with prediction x0 a
                   super-resolution network learns what the enlarged medium lacks, as in Li et al. 2021
                   (arXiv:2104.14951, section 3.3)
    guided         it takes a guidance scale as an input, which a distillation teaches (Meng et al. 2022,
                   arXiv:2210.03142, section 3.1); before training it has no effect
    checkpoint     recompute activations in the backward pass to save memory
    channels_last  memory layout; default: channels-last where it is faster (half precision on GPUs, sampling on CPUs)

    Raises ValueError for arguments out of range, and for a condition with tokens but no attention.
    """

    def __init__(
        self,
        *,
        axes: Given[int],
        channels: Given[int],
        out_channels: Given[int],
        cond: Given[CondSpec],
        widths: tuple[int, ...] = (64, 128, 256),
        blocks: int = 2,
        attention: tuple[bool, ...] | None = None,
        head_width: int = 32,
        kernel: int = 3,
        embedding: int | None = None,
        groups: int = 32,
        dropout: float = 0.0,
        skip_scale: float = 1.0,
        start_at_grid: bool = False,
        guided: bool = False,
        checkpoint: bool = False,
        channels_last: bool | None = None,
    ) -> None:
        super().__init__()
        attends = (False,) * (len(widths) - 1) + (True,) if attention is None else attention
        check_unet(
            axes=axes, widths=widths, attention=attends, kernel=kernel, dropout=dropout, tokens=cond.tokens
        )
        check_positive(blocks=blocks, head_width=head_width, groups=groups, embedding=embedding)
        check_positive(skip_scale=skip_scale)
        self.axes, self.channels, self.cond = axes, channels, cond
        self.checkpoint, self.channels_last = checkpoint, channels_last
        self.closes = (-1,) if axes == 1 else (-1, -2)  # frames have places of their own
        if start_at_grid and cond.grid < out_channels:
            raise ValueError(
                f"start_at_grid: true is not allowed with {cond.grid} channels of a grid; the output has {out_channels}"
            )
        self.start_at_grid, self.distilled, self.stride = start_at_grid, guided, 2 ** (len(widths) - 1)
        embedding = embedding or 4 * widths[0]
        stage = partial(
            Stage, axes=axes, kernel=kernel, embedding=embedding, groups=groups, head_width=head_width,
            tokens=cond.tokens, dropout=dropout, skip_scale=skip_scale,
        )  # fmt: skip
        self.embed = NoiseEmbedding(widths[0], embedding, cond.vector, axes, guided=guided)
        self.enter = conv(channels + cond.grid, widths[0], axes=axes, kernel=kernel)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips = self._fill_down(stage, widths, attends, blocks)
        self.middle = nn.ModuleList([stage(widths[-1], widths[-1], some) for some in (any(attends), False)])
        self._fill_up(stage, widths, attends, blocks, skips)
        self._number_attention()
        self.leave_norm = norm(widths[0], groups)
        self.leave = zeroed(conv(widths[0], out_channels, axes=axes, kernel=kernel))

    def _number_attention(self) -> None:
        """Number the attention blocks in the order in which x passes them, for taps."""
        path = (*self.down, *self.middle, *self.up)
        blocks = [m for layer in path for m in layer.modules() if isinstance(m, AttentionBlock)]
        for number, block in enumerate(blocks):
            block.number = number
        self.attentions, self.outermost = len(blocks), len(self.down)
        before = [m for layer in self.down for m in layer.modules() if isinstance(m, AttentionBlock)]
        self.deepest = min(len(before), max(len(blocks) - 1, 0))

    def regions(self) -> list[nn.Module]:
        """Return the residual blocks with their attention."""
        return [m for m in (*self.down, *self.middle, *self.up) if isinstance(m, Stage)]

    def attention_modules(self) -> list[str]:
        """List the names of the modules that compute attention: over space, over time, and to the tokens."""
        return [name for name, module in self.named_modules() if isinstance(module, Attention)]

    def inherit(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adapt the state of a related network: an image network's for video, or one whose grid is narrower.

        Kinds of layers over time that are missing start as in a new network, at zero, so that the video network does to
        every frame what the image network does to an image. Weights of further channels of a grid start at zero, too;
        where it is not plain whether a grid was a condition or a mask, they stay as they are. Those of a grid that this
        network does not have are left out, as if it said nothing. So it is with a guidance scale.
        """
        known = {_over_time(k) for k in weights}
        own = self.state_dict() if self.axes == 3 or self.distilled else {}
        new = {k: v for k, v in own.items() if (kind := _over_time(k)) and kind not in known}
        new |= {k: v for k, v in own.items() if k == _GUIDANCE and k not in weights}
        enter = weights.get("enter.weight")
        place = None if enter is None or enter.ndim != 4 else self._gap(enter.shape[1] - self.channels)
        if enter is not None and place is not None:
            more = enter.new_zeros(
                len(enter), self.channels + self.cond.grid - enter.shape[1], *enter.shape[2:]
            )
            weights = {
                **weights,
                "enter.weight": torch.cat([enter[:, :place], more, enter[:, place:]], dim=1),
            }
        if not self.cond.grid and enter is not None and enter.ndim == 4 and enter.shape[1] > self.channels:
            weights = {**weights, "enter.weight": enter[:, : self.channels]}
        return {**new, **{k: v for k, v in weights.items() if k != _GUIDANCE or self.distilled}}

    def _gap(self, grid: int) -> int | None:
        """Where, among the channels of a network with so many of a grid, this one has further ones; None: unknown."""
        own, shown = self.cond.grid - self.cond.shown, self.cond.shown
        if grid == self.cond.grid or grid not in (0, own, shown) or (grid and own == shown):
            return None
        return self.channels if grid and grid == shown else self.channels + grid

    def circle_multiple(self, axis: int) -> int:
        """Its stride: a circle cannot be padded."""
        return self.stride

    def _fill_down(
        self, stage: Callable[..., Stage], widths: Sequence[int], attends: Sequence[bool], blocks: int
    ) -> list[int]:
        """Build the encoder. Return the widths of its skip connections, the first of them from `enter`."""
        width = widths[0]
        skips = [width]
        for level, wide in enumerate(widths):
            if level > 0:
                self.down.append(DownsampleConv(width, axes=self.axes))
                skips.append(width)
            for _ in range(blocks):
                self.down.append(stage(width, wide, attends[level]))
                skips.append(width := wide)
        return skips

    def _fill_up(
        self,
        stage: Callable[..., Stage],
        widths: Sequence[int],
        attends: Sequence[bool],
        blocks: int,
        skips: list[int],
    ) -> None:
        """Build the decoder, which takes the skip connections in reverse."""
        width = widths[-1]
        for level, wide in reversed([*enumerate(widths)]):
            for _ in range(blocks + 1):
                self.up.append(stage(width + skips.pop(), wide, attends[level]))
                width = wide
            if level > 0:
                self.up.append(UpsampleConv(width, axes=self.axes))

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        cond: Cond,
        taps: Taps | None = None,
        deep: Deep | None = None,
        closed: Closed = OPEN,
    ) -> Tensor:
        """x [B, C, *D], c_noise [B] log-SNR within ±20, cond with the widths of the constructor -> F [B, C', *D].

        Raises ValueError for other shapes and widths.
        """
        self._check_input(x, cond)
        size, frames = x.shape[2:], x.shape[2] if self.axes == 3 else 1
        grid = None
        if cond.grid is not None:
            grid = cond.grid.to(x.dtype)
            if grid.shape[2:] != size:
                grid = F.interpolate(grid, size=tuple(size), mode=_SMOOTH[self.axes], align_corners=False)
            x = torch.cat([x, grid], dim=1)
        x = fold(self._pad(x))
        if self._use_channels_last(x):
            x = x.contiguous(memory_format=torch.channels_last)
        scale = cond.extra.get("guidance") if self.distilled else None
        context = Context(
            self.embed(c_noise, cond.vector, frames, scale), cond.tokens, cond.mask, frames, taps, closed
        )
        x = unfold(self._run(x, context, deep), self.axes, frames)
        x = x[(..., *(slice(n) for n in size))].contiguous()
        return x + grid[:, : x.shape[1]] if self.start_at_grid and grid is not None else x

    def _run(self, x: Tensor, context: Context, deep: Deep | None) -> Tensor:
        """The folded network: [R, C, H, W] -> [R, C', H, W].

        A stage of the decoder and the layer whose output it takes over the skip connection are an outer stage.
        """
        made = None if deep is None else deep.made
        outer = len(self.down) + 1 if deep is None or made is None else deep.outer[0]
        x = convolved(self.enter, x, context.closed)
        skips = [x]
        for layer in self.down[: outer - 1]:
            x = self._call(layer, x, context)
            skips.append(x)
        for layer in self.middle if made is None else ():
            x = self._call(layer, x, context)
        if made is not None:
            x = made[0].flatten(0, 1)
        for layer in self.up[-self._layers_up(outer) :]:
            if isinstance(layer, Stage):
                if deep is not None and made is None and len(skips) in deep.outer:
                    deep.kept[len(skips)] = (x.unflatten(0, (-1, context.frames)),)
                x = torch.cat([x, skips.pop()], dim=1)
            x = self._call(layer, x, context)
        return convolved(self.leave, activated(self.leave_norm(x)), context.closed)

    def _layers_up(self, stages: int) -> int:
        """How many layers the last stages of the decoder have, with those between them."""
        places = [k for k, layer in enumerate(self.up) if isinstance(layer, Stage)]
        return len(self.up) if stages == len(places) else len(self.up) - places[-stages]

    def _call(self, layer: nn.Module, x: Tensor, context: Context) -> Tensor:
        if self.checkpoint and torch.is_grad_enabled():
            return recompute(layer, x, context, use_reentrant=False)
        return layer(x, context)

    def _pad(self, x: Tensor) -> Tensor:
        """Pad each strided axis with zeros at its end, as convolutions pad the border anyway."""
        strided = x.shape[2:] if self.axes < 3 else x.shape[3:]
        more = [-n % self.stride for n in strided]
        return F.pad(x, [p for n in reversed(more) for p in (0, n)]) if any(more) else x

    def _use_channels_last(self, x: Tensor) -> bool:
        if self.channels_last is not None:
            return self.channels_last
        if samples_on_cpu(
            x
        ):  # as its convolutions take it; in training normalisations lose more than they gain
            return True
        device = x.device.type
        return device not in ("cpu", "meta") and (x.dtype.itemsize < 4 or torch.is_autocast_enabled(device))

    def _check_input(self, x: Tensor, cond: Cond) -> None:
        if x.ndim != self.axes + 2 or x.shape[1] != self.channels:
            raise ValueError(f"x: shape {tuple(x.shape)} is not [B, {self.channels}, {self.axes} axes]")
        spec = self.cond
        parts = (
            ("vector", cond.vector, 1, spec.vector),
            ("tokens", cond.tokens, 2, spec.tokens),
            ("grid", cond.grid, 1, spec.grid),
        )
        for name, part, axis, wanted in parts:
            given = 0 if part is None else part.shape[axis]
            if given != wanted:
                raise ValueError(f"cond.{name}: width {given} given, {wanted} expected (0: none)")


def _over_time(name: str) -> str | None:
    """The kind of layer over time that a parameter belongs to, if any."""
    return next((part for part in name.split(".") if part.startswith("time_")), None)
