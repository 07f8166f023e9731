"""Hosts: the networks of a model whose layers LoRAs change, by the names that files give them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Host:
    """A network that LoRAs change.

    outside  how files begin the names of its layers, as in "text_encoder."
    inside   how they begin here, as in "backbone.network."
    load     returns the network; it may be read from the disk then
    flat     how files begin them where the rest is written with underscores alone, as kohya's trainers do
    depth    layers of a block of a U-Net, by which files in the names of its first authors count; 0: it has no blocks
    learns   a text encoder whose LoRAs diffusers reads, so that they can be trained
    """

    outside: str
    inside: str
    load: Callable[[], nn.Module]
    flat: tuple[str, ...] = ()
    depth: int = 0
    learns: bool = False
