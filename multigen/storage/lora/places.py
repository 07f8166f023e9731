"""Which weight of a model each layer of a LoRA file changes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from multigen.core.backbone import Backbone
from multigen.core.hosts import Host
from multigen.errors import MultigenError
from multigen.storage.lora.adapter import Adapter, Pair
from multigen.storage.lora.original import renamed

log = logging.getLogger(__name__)

_CLIP = "text_model."  # how the layers of CLIP begin in files, and in some versions of transformers
# How files begin the layers of text encoders. A pipeline may have fewer than a file is for.
_TEXT = ("text_encoder", "lora_te", _CLIP)


class Change(NamedTuple):
    """A weight of a model, and the pair of matrices that changes it."""

    weight: Tensor
    pair: Pair


def prefixes(backbone: Backbone) -> tuple[str, str]:
    """Return the prefixes of a backbone's layer names in LoRA files, and in `Model.state_dict`."""
    outside, inside = backbone.published
    return outside, f"backbone.{inside}"


def deltas(adapter: Adapter, hosts: Sequence[Host], recipe: str) -> dict[str, Change]:
    """Return what changes of each weight, by its name in `Model.state_dict`, or that of a text encoder.

    hosts    the networks of the model, its backbone first; a text encoder is loaded where the file changes it
    recipe   the model's name in messages

    Layers of text encoders that the model lacks are left out with a warning. Raises MultigenError with the first layers
    that fit none of the networks.
    """
    names = [_Names(host, unnamed=k == 0) for k, host in enumerate(hosts)]
    found: dict[str, Change] = {}
    rows: list[str] = []
    lacking: list[str] = []
    for layer, pair in adapter.pairs.items():
        place = next((name for one in names if one.claims(layer) and (name := one.find(layer))), None)
        if place is None and layer.startswith(_TEXT) and not any(one.claims(layer) for one in names):
            lacking.append(layer)
        elif place is None:
            rows.append(f"{layer}: there is no such layer")
        elif not _fits(pair, place.weight):
            rows.append(f"{layer} is for weights {list(pair.shape)}, here {list(place.weight.shape)}")
        else:
            found[place.name] = Change(place.weight, pair)
    if not (found or rows):
        rows = [f"{layer}: there is no such text encoder" for layer in lacking]
    if rows:
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise MultigenError(
            f"{adapter.where}: this LoRA is for another network than {recipe}: {'; '.join(rows[:3])}{more}. "
            f"It was made for {adapter.base}."
        )
    if lacking:
        log.warning(
            "%s: %d layers are of a text encoder that %s does not have, and are left out",
            adapter.where, len(lacking), recipe,
        )  # fmt: skip
    return found


class _Place(NamedTuple):
    name: str
    weight: Tensor


class _Names:
    """The weights of one network by the names that files give them; it is loaded when a name is looked up.

    unnamed  layers without a prefix are its own
    """

    def __init__(self, host: Host, *, unnamed: bool) -> None:
        self.host, self.unnamed = host, unnamed

    def claims(self, layer: str) -> bool:
        """Whether a layer's name is one that this network's may have."""
        if layer.startswith((self.host.outside, *self.host.flat)):
            return True
        if layer.startswith(_CLIP):
            return self.host.outside == "text_encoder."
        return self.unnamed and not layer.startswith(_TEXT)

    def find(self, layer: str) -> _Place | None:
        """Find the weight of a layer."""
        inner = self._inner(layer)
        tries = [inner, layer, inner.removeprefix(_CLIP), f"{_CLIP}{inner}"]
        name = next((n for one in tries if (n := f"{one}.weight") in self._weights), None)
        return None if name is None else _Place(self.host.inside + name, self._weights[name])

    def _inner(self, layer: str) -> str:
        """A layer's name within the network, its underscores as dots again where the file has none."""
        prefix = next((p for p in self.host.flat if layer.startswith(p)), None)
        if prefix is None:
            return layer.removeprefix(self.host.outside)
        flat = layer.removeprefix(prefix)
        tries = (flat, flat.removeprefix("text_model_"), f"text_model_{flat}", renamed(flat, self.host.depth))
        return next((self._flat[one] for one in tries if one in self._flat), flat)

    @functools.cached_property
    def _weights(self) -> Mapping[str, nn.Parameter]:
        return {n: p for n, p in self.host.load().named_parameters() if n.endswith(".weight")}

    @functools.cached_property
    def _flat(self) -> Mapping[str, str]:
        layers = [name.removesuffix(".weight") for name in self._weights]
        return {layer.replace(".", "_"): layer for layer in layers}


def _fits(pair: Pair, weight: Tensor) -> bool:
    """Whether a change has a weight's shape; convolutions of one pixel and linear layers are the same."""
    change, own = list(pair.shape), list(weight.shape)
    return change == own or (change[:2] == own[:2] and set(change[2:] + own[2:]) == {1})
