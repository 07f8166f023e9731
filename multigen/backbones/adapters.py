"""What leads a network of diffusers by pictures: ControlNets and IP-Adapters, several at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor

from multigen.backbones.adapter import Adapter
from multigen.backbones.controlnet import ControlNet
from multigen.backbones.ip_adapter import IPAdapter
from multigen.core.backbone import Control, Lead, lead_name
from multigen.core.conditioning import Cond
from multigen.families import Family

# Kinds of adapters, and which families take them.
KINDS: Mapping[str, tuple[Callable[[Control, Any, int], Adapter], Callable[[Family], bool]]] = {
    "controlnet": (ControlNet, lambda family: family.controlled),
    "ip_adapter": (IPAdapter, lambda family: family.prompted),
}


class Adapters:
    """The adapters of a network, in order. ValueError for a kind that it does not take, MultigenError for a misfit."""

    def __init__(self, controls: Sequence[Control], network: Any, family: Family) -> None:
        for control in controls:
            allowed = [kind for kind, (_, takes) in KINDS.items() if takes(family)]
            if control.kind not in allowed:
                raise ValueError(
                    f"adapters: the network of {family.title} takes no {control.kind}. Allowed: "
                    f"{', '.join(allowed) or 'none'}."
                )
        self._adapters = [KINDS[one.kind][0](one, network, family.factor) for one in controls]

    def lead(self, number: int, picture: Tensor, shape: tuple[int, ...]) -> Lead:
        """As `Adapter.lead`, of one of them."""
        return self._adapters[number].lead(picture, shape)

    @contextmanager
    def leading(self, network: Any, cond: Cond) -> Iterator[None]:
        """Lead the network's calls inside the block by the pictures of a condition."""
        with ExitStack() as stack:
            for number, adapter in enumerate(self._adapters):
                stack.enter_context(adapter.leading(network, cond.extra[lead_name(number)]))
            yield
