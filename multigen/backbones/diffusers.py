"""The network of a pipeline in diffusers' format."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from multigen.backbones.adapters import Adapters
from multigen.backbones.circular import circular
from multigen.backbones.control_training import from_unet, learning
from multigen.backbones.diffusers_deep import Inner
from multigen.backbones.diffusers_taps import tapped
from multigen.backbones.int8 import to_int8
from multigen.backbones.packed import PackedWeights, worth
from multigen.backbones.streamed import Streamed
from multigen.core.backbone import Backbone, Control, Lead, Taps
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.copies import KeepsCopies
from multigen.core.deep import Deep
from multigen.core.hosts import Host
from multigen.families import Family, open_family
from multigen.registry import Given
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Turns

# Why the weights of some networks cannot be changed.
FIXED = "sample.offload=sequential reads them from the pipeline's files. Allowed: components"
INT8 = "backbone.dtype=int8. Allowed: fp32, bf16, fp16"
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Diffusers(KeepsCopies, Backbone):
    """F(x [B, C, *D], c_noise [B], cond) -> [B, C, *D]: a network of diffusers with its trained weights.

    axes          of the codec, which must be the network's
    channels      C of the codec, likewise
    out_channels  C of the output, likewise
    cond          widths of the conditions, likewise
    path          the pipeline's folder, a single file of it, or its id on the hub (hf:owner/name)
    config        of a single file: a folder in diffusers' format that says what the file does not
    motion        folder of motion modules (MotionAdapter), with which Stable Diffusion 1.x makes videos
    dtype         of its weights in memory: fp32; bf16 or fp16, norms and embeddings in fp32; or int8 in linear layers
                  (torchao), for sampling alone
    packed        on a CPU in fp32, weights are also held in the layout in which they are multiplied: quicker. Those of
                  fp32 files take no more memory, as the files' own goes; others take up to twice as much
    turns         the model's networks take turns on the device; None: they stay
    streamed      the device that its layers work on one by one; None: the network stays

    The family of the pipeline says how the network is called. Raises ValueError if the network does not fit the codec
    and the conditioner.
    """

    pretrained = True

    def __init__(
        self,
        *,
        axes: Given[int],
        channels: Given[int],
        out_channels: Given[int],
        cond: Given[CondSpec],
        path: str | None = None,
        config: str | None = None,
        motion: str | None = None,
        dtype: Literal["fp32", "bf16", "fp16", "int8"] = "fp32",
        packed: bool = True,
        turns: Given[Turns | None] = None,
        streamed: Given[torch.device | None] = None,
    ) -> None:
        super().__init__()
        self.family: Family = open_family(diffusers_folder.located(path, config), lone_folder(motion))
        self.folder: Path = self.family.folder
        self.c_noise, self.distilled = self.family.c_noise, self.family.distilled
        self.begins, self.sees_known = self.family.begins, self.family.sees_known
        self.lone_frames, self.learned_variance = self.family.lone_frames, self.family.learned_variance
        self.published, self.closes = _published(self.family), self.family.closes
        self.joined = "" if motion is None else "motion_modules."
        depth = self.family.config.get("layers_per_block")
        self.depth = depth if isinstance(depth, int) else 0
        self._check(path, axes, channels, out_channels, cond)
        name = self.family.network
        self.network: Any = self._loaded(dtype)
        self._dtype, self._turns, self._streamed = HALF.get(dtype), turns, streamed is not None
        if streamed is not None:
            read = diffusers_folder.reader(self.folder / name) if streamed.type == "cpu" else None
            Streamed(self.network, streamed, read)
        self.fixed = (
            FIXED if streamed is not None and streamed.type == "cpu" else INT8 if dtype == "int8" else ""
        )
        packs = packed and dtype == "fp32" and streamed is None and worth(self.network)
        self._packed = PackedWeights() if packs else None
        self._inner = Inner(self.network)
        # Of two networks that take turns, features of one mean nothing to the other.
        self.outermost = 0 if self.family.others else self._inner.outermost
        self._adapters = Adapters((), self.network, self.family)
        self.control: nn.Module | None = None  # a ControlNet that learns
        self._shown: Tensor | None = None
        kind = diffusers_folder.imported("diffusers").Transformer2DModel
        self._blocks = [n for n, m in self.network.named_modules() if isinstance(m, kind)]
        self._blocks = sorted((n for n in self._blocks if _place(n)[0] >= 0), key=_place)
        self.attentions = len(self._blocks)
        self.deepest = next((k for k, n in enumerate(self._blocks) if not n.startswith("down")), 0)

    def _loaded(self, dtype: str) -> nn.Module:
        """The network with its weights, or without where only its layers are asked for."""
        if torch.empty(0).is_meta:
            return self.family.load(diffusers_folder.blank)
        held = HALF.get(dtype, torch.float32)
        network = self.family.load(functools.partial(diffusers_folder.network, dtype=held))
        read = diffusers_folder.reader(self.folder / self.family.network)
        return to_int8(network, read) if dtype == "int8" else network

    def _check(self, path: str | None, axes: int, channels: int, out_channels: int, cond: CondSpec) -> None:
        """ValueError where codec and conditioner give another form than the network takes."""
        form = self.family.form()
        if bool(cond.grid) != bool(form.cond.grid):
            raise ValueError(
                f"path: {path}: this network has {'' if form.cond.grid else 'no '}channels for a mask or a cascade. "
                f"Allowed: masked={str(self.family.masked).lower()}"
            )
        wanted = {
            "axes": (form.axes, axes),
            "channels": (form.channels, channels),
            "out_channels": (form.channels, out_channels),
            "tokens": (form.cond.tokens, cond.tokens),
            "vector": (form.cond.vector, cond.vector),
            "grid": (form.cond.grid, cond.grid),
        }
        for name, (takes, given) in wanted.items():
            if takes != given:
                raise ValueError(
                    f"path: {path}: this network takes {name} {takes}; codec and conditioner give {given}"
                )

    @property
    def components(self) -> Mapping[str, nn.Module]:
        """Its network, by its name in the pipeline."""
        return {self.family.network: self.network}

    @classmethod
    def published_with(cls, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return what the pipeline's folder says."""
        return _published(open_family(diffusers_folder.located(args.get("path"), args.get("config"))))

    def hosts(self) -> Sequence[Host]:
        """Return its network, and others of the pipeline that take its place at times."""
        here = next(self.parameters()).device
        others = [
            Host(f"{name}.", f"{name}.", functools.partial(frozen.on, here))
            for name, frozen in self.family.others.items()
        ]
        return (*super().hosts(), *others)

    def attention_modules(self) -> list[str]:
        """List the names of diffusers' attention modules."""
        diffusers_folder.imported("diffusers")
        attention = importlib.import_module("diffusers.models.attention")
        processors = importlib.import_module("diffusers.models.attention_processor")
        kinds = (processors.Attention, attention.AttentionModuleMixin)
        return [name for name, module in self.named_modules() if isinstance(module, kinds)]

    def inherit(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Add the motion modules, where they were put into the network of pictures that the weights are of."""
        own = self.state_dict() if self.joined else {}
        return {**{name: tensor for name, tensor in own.items() if self.joined in name}, **weights}

    def shared(self, cond: Cond) -> Hashable:
        """Return what the family says."""
        return self.family.shared(cond)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for samples [C, *D] that the family's network cannot make."""
        self.family.check_shape(shape)

    def circle_multiple(self, axis: int) -> int:
        """How often its levels halve a side."""
        return 2 ** (len(self.family.config.get("block_out_channels") or (0,)) - 1)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        cond: Cond,
        taps: Taps | None = None,
        deep: Deep | None = None,
        closed: Closed = OPEN,
    ) -> Tensor:
        """x [B, C, *D], c_noise [B] as the family takes it -> F [B, C, *D]."""
        blocks: list[nn.Module] = [self.network.get_submodule(name) for name in self._blocks]
        if self._turns is not None:
            self._turns.take(self)
            if not self._streamed:
                self.network.to(x.device)
        lower = (
            contextlib.nullcontext() if self._dtype is None else torch.autocast(x.device.type, self._dtype)
        )
        led = self._adapters.leading(self.network, cond)
        fast = (
            self._packed.used(x)
            if self._packed is not None and self.keeps_copies and not closed
            else contextlib.nullcontext()
        )
        inner, around = (
            self._inner.deep(deep, len(x)),
            circular(closed) if closed else contextlib.nullcontext(),
        )
        with tapped(blocks, taps), inner, lower, led, self._learning(x, cond), fast, around:
            answer = self.family.call(self.network, x, c_noise, cond)
        if taps is None or not taps.variance:
            answer = answer[:, : x.shape[1]]
        return answer if self._dtype is None else answer.to(x.dtype)

    def leave(self) -> None:
        """Make room on the device for another network of the model."""
        self.forget_copies()
        if not self._streamed:
            self.network.to("cpu")

    @property
    def copied_bytes(self) -> int:
        """Bytes of weights in the layout in which they are multiplied."""
        return 0 if self._packed is None else self._packed.nbytes

    def forget_copies(self) -> None:
        """Let them go."""
        if self._packed is not None:
            self._packed.clear()

    def check_control(self) -> None:
        """Raise ValueError but for U-Nets of pictures without mask channels."""
        if not self.family.controlled or self.family.masked:
            raise ValueError(
                "this network takes no ControlNet. Allowed: those of U-Nets of pictures, without masks"
            )

    def learn_control(self, seed: int) -> None:
        """As `Backbone.learn_control`: a ControlNetModel of diffusers, `control`."""
        self.check_control()
        self.control = from_unet(self.network, self.family.factor, seed)

    def show(self, picture: Tensor | None) -> None:
        """As `Backbone.show`."""
        self._shown = picture

    def _learning(self, x: Tensor, cond: Cond) -> contextlib.AbstractContextManager[None]:
        """Inside the block the network is led by the ControlNet that learns, if one does and there is a picture."""
        shown = None if self._shown is None else self._shown[None]
        picture = cond.extra.get("control", shown)
        if self.control is None or picture is None:
            return contextlib.nullcontext()
        return learning(self.network, self.control, picture.to(x), x, self.family.factor)

    def attach(self, controls: Sequence[Control]) -> None:
        """As `Backbone.attach`: U-Nets of pictures take ControlNets and IP-Adapters."""
        self._adapters = Adapters(controls, self.network, self.family)

    def lead(self, number: int, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """As `Backbone.lead`."""
        return self._adapters.lead(number, picture, shape)


def lone_folder(path: str | None) -> Path | None:
    """The folder of a network that stands in no pipeline. ValueError if there is none."""
    if path is None:
        return None
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ValueError(
            f"motion: {path}: no such folder. Give one in diffusers' format, of a MotionAdapter."
        )
    return folder


def _published(family: Family) -> tuple[str, str]:
    return f"{family.network}.", "network."


def _place(name: str) -> tuple[int, str]:
    """Order of the blocks as x passes them: down, middle, up. The order of the attributes differs. -1: elsewhere."""
    order = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    return order.get(name.partition(".")[0], -1), name
