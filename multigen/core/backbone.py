"""Backbone: the network F(x, c_noise, cond), and taps into its attention."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from multigen.core.circles import Closed
from multigen.core.conditioning import Cond
from multigen.core.deep import Deep
from multigen.core.hosts import Host

NoiseLevel: TypeAlias = Literal["log_snr", "index", "sigma"]


class Maps:
    """Collects attention to a condition's tokens: `found` maps a block's number to [B, L, *D], heads averaged."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}


class Taps(NamedTuple):
    """What one call changes or records inside a backbone. Attention blocks are numbered from the input.

    undone   blocks whose self-attention map is replaced by the identity (perturbed attention)
    skipped  blocks that are left out
    maps     collects attention to the tokens; such a call merges with no other
    variance  the answer has what the network says of the variance, too: x0 and v, [B, 2 C, *D]
    """

    undone: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    maps: Maps | None = None
    variance: bool = False


class Control(NamedTuple):
    """Weights beside the backbone that lead it by a picture.

    kind     what they are, such as a ControlNet
    path     their folder or file
    weight   0: not at all; 1: as they were trained
    encoder  folder of the network that reads the picture, where one does; None: as `path` implies
    """

    kind: str
    path: str
    weight: float
    encoder: str | None = None


class Lead(NamedTuple):
    """What a picture says to a backbone in conditional and in unconditional calls, [1, ...] each, of one shape."""

    cond: Tensor
    null: Tensor


def lead_name(number: int) -> str:
    """The name in `Cond.extra` of what the picture of an attached control says."""
    return f"picture {number}"


class Backbone(nn.Module, ABC):
    """The network F. It knows nothing of schedules, samplers or prompts, and must not write into x.

    A subclass implements `forward` and declares what differs from these defaults:

    c_noise     how it takes the noise level: the log-SNR, clamped to ±20; the index in the schedule's table, or sigma,
                as networks trained elsewhere do
    pretrained  the weights come with the part, so that nothing needs to be trained or loaded
    fixed       why its weights cannot be changed, for a message; "": they can
    published   prefixes of layer names in files of other tools, and in this module
    depth       layers of a block, where files of other tools count by them
    attentions  number of attention blocks that taps can address; 0: `forward` takes no taps
    deepest     number of the attention block in the middle of the network
    outermost   most outer stages that can run without the inner layers (`Deep`); 0: `forward` takes no deep
    closes      axes, counted from the last, along which it can take a sample as a circle; (): `forward` takes no closed
    distilled   the network takes a guidance scale as an input, `Cond.extra["guidance"]` [B, 1]
    begins      it makes what begins with a picture, and cannot do without one
    lone_frames  it is shown frames of a video that no latent holds alone
    learned_variance  it says how much noise a step of ancestral sampling adds, `Taps.variance`
    joined      part of the names of weights that another source put into the network; "": none
    sees_known  where something of a sample is known, `Cond.grid` may show it: mask and x0 [B, 1 + C, *D]
    """

    c_noise: NoiseLevel = "log_snr"
    pretrained: ClassVar[bool] = False
    fixed: str = ""
    published: tuple[str, str] = ("backbone.", "")
    depth: int = 0
    attentions: int = 0
    deepest: int = 0
    outermost: int = 0
    closes: tuple[int, ...] = ()
    distilled: bool = False
    begins: bool = False
    sees_known: bool = False
    lone_frames: bool = False
    learned_variance: bool = False
    joined: str = ""

    @abstractmethod
    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, *D], c_noise [B], conditions -> F [B, C', *D].

        A backbone whose `attentions` is above 0 also takes `taps: Taps | None = None`, and one whose `outermost` is
        above 0 `deep: Deep | None = None`. One that `closes` takes `closed: Closed = OPEN`.
        """

    def regions(self) -> Sequence[nn.Module]:
        """Return the modules that are compiled each by itself: a repeated block, say. By default the network."""
        return (self,)

    def shared(self, cond: Cond) -> Hashable:
        """Return what all samples of one call must have in common, beside shapes and the structure of their conditions.

        By default nothing. A network that attends to padding, say, needs equal numbers of tokens.
        """
        return None

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError, with the nearest that is allowed, for samples [C, *D] that the network cannot make."""

    def circle_multiple(self, axis: int) -> int:
        """Return of what the length of a closed axis must be a multiple; the axis is counted from the last."""
        return 1

    def attach(self, controls: Sequence[Control]) -> None:
        """Be led by these from now on, and by no others; calls then carry `lead_name(k)` for each of them.

        ValueError where the network takes none.
        """
        if controls:
            raise ValueError(f"adapters: this network takes no {controls[0].kind}. Allowed: none.")

    def lead(self, number: int, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """Return what a picture [3, H, W] in [-1, 1] says through an attached control, for samples [C, *D]."""
        raise NotImplementedError

    @classmethod
    def published_with(cls, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return `published` of the network that these arguments of a recipe make, which is not built."""
        return cls.published

    def hosts(self) -> Sequence[Host]:
        """Return the networks whose layers LoRAs change. By default its own."""
        outside, inside = self.published
        network = self.get_submodule(inside.removesuffix("."))
        flat = ("lora_unet_", "lora_transformer_")
        return (Host(outside, f"backbone.{inside}", lambda: network, flat, self.depth),)

    def check_control(self) -> None:
        """Raise ValueError where no ControlNet of the network can learn."""
        raise ValueError("this network takes no ControlNet. Allowed: those of U-Nets of pictures")

    def learn_control(self, seed: int) -> None:
        """Let a ControlNet learn that begins as a copy of the network: it sees `Cond.extra["control"]` [B, 3, H, W].

        What it draws is keyed by the seed; at first it changes nothing. Raises ValueError as `check_control`.
        """
        self.check_control()

    def show(self, picture: Tensor | None) -> None:
        """Lead calls without a control picture of their own by this one, [3, H, W], where a ControlNet learns."""

    def attention_modules(self) -> list[str]:
        """List the names of the modules that compute attention, whose layers an adapter can target. By default none."""
        return []

    def inherit(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adapt the state of a related network, so that training can start from it. By default it stays as it is."""
        return dict(weights)


def check_taps(backbone: Backbone, taps: Taps) -> None:
    """Raise ValueError if the backbone lacks an attention block that the taps address."""
    count = backbone.attentions
    wrong = [n for n in (*taps.undone, *taps.skipped) if not 0 <= n < count]
    if taps.variance and not backbone.learned_variance:
        raise ValueError("this backbone has not learned its variance")
    if not count and (wrong or taps.maps is not None):
        raise ValueError("this backbone gives no access to its attention, which this guide or picture needs")
    if wrong:
        raise ValueError(f"layers: {wrong} is not allowed. Allowed: 0 to {count - 1} (attention blocks)")


def check_deep(backbone: Backbone, deep: Deep) -> None:
    """Raise ValueError if the backbone cannot run so many outer stages without its inner layers."""
    wrong = [n for n in deep.outer if not 1 <= n <= backbone.outermost]
    if not backbone.outermost:
        raise ValueError("this backbone cannot run without its inner layers. Allowed: cache off")
    if wrong:
        raise ValueError(
            f"outer: {wrong[0]} is not allowed. Allowed: 1 to {backbone.outermost} (outer stages)"
        )


def check_closed(backbone: Backbone, closed: Closed) -> None:
    """Raise ValueError if the backbone cannot take samples as circles along these axes."""
    axes = (*closed.axes, *((-2,) if closed.poles else ()))
    if any(axis not in backbone.closes for axis in axes):
        raise ValueError(
            f"this network takes no samples as circles along the axes {axes}. Allowed: {backbone.closes}"
        )
