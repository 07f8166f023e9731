"""Backbone: the network F(x, c_noise, cond), and taps into its attention."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from multigen.core.conditioning import Cond


class Maps:
    """Collects attention to a condition's tokens: `found` maps a block's number to [B, L, *D], heads averaged."""

    def __init__(self) -> None:
        self.found: dict[int, Tensor] = {}


class Taps(NamedTuple):
    """What one call changes or records inside a backbone. Attention blocks are numbered from the input.

    undone   blocks whose self-attention map is replaced by the identity (perturbed attention)
    skipped  blocks that are left out
    maps     collects attention to the tokens; such a call merges with no other
    """

    undone: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    maps: Maps | None = None


class Backbone(nn.Module, ABC):
    """The network F. It knows nothing of schedules, samplers or prompts, and must not write into x.

    A subclass implements `forward` and declares what differs from these defaults:

    by_index    c_noise is the index in the schedule's table, as networks trained elsewhere take it; False: it is the
                log-SNR, clamped to ±20
    pretrained  the weights come with the part, so that nothing needs to be trained or loaded
    published   prefixes of layer names in files of other tools, and in this module
    attentions  number of attention blocks that taps can address; 0: `forward` takes no taps
    deepest     number of the attention block in the middle of the network
    """

    by_index: ClassVar[bool] = False
    pretrained: ClassVar[bool] = False
    published: ClassVar[tuple[str, str]] = ("backbone.", "")
    attentions: int = 0
    deepest: int = 0

    @abstractmethod
    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, *D], c_noise [B], conditions -> F [B, C', *D].

        A backbone whose `attentions` is above 0 also takes `taps: Taps | None = None`.
        """

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
    if not count:
        raise ValueError("this backbone gives no access to its attention, which this guide or picture needs")
    if wrong:
        raise ValueError(f"layers: {wrong} is not allowed. Allowed: 0 to {count - 1} (attention blocks)")
