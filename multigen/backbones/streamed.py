"""A network whose weights are on the device layer by layer: they come when it is called, and go when it ends.

On a GPU they come from the computer's memory. On a CPU they are read from the network's files, and their memory is
given back after the layer, so that no more of them is in memory than one layer has. Between its calls a layer has the
files' own memory, of which nothing is read until somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from multigen.errors import MultigenError

Read = Callable[[str], Tensor | None]  # the weights of a name as the files have them; None: they have no such


class Streamed:
    """Hooks on every layer of a network that has weights.

    read  None: what the layers hold is copied to the device; else it is read for each call
    """

    def __init__(self, network: nn.Module, device: torch.device, read: Read | None) -> None:
        for name, module in network.named_modules():
            own = {
                **dict(module.named_parameters(recurse=False)),
                **dict(module.named_buffers(recurse=False)),
            }
            if own:
                layer = _Layer(f"{name}." if name else "", own, device, read)
                module.register_forward_pre_hook(layer.enter)
                module.register_forward_hook(layer.leave, always_call=True)


class _Layer:
    """The weights of one layer, by their names in it; `start` is before these in the network's."""

    def __init__(
        self, start: str, own: Mapping[str, Tensor], device: torch.device, read: Read | None
    ) -> None:
        self._start, self._own, self._device, self._read = start, own, device, read
        self._home = {key: tensor.data for key, tensor in own.items()}

    def enter(self, module: nn.Module, given: Any) -> None:
        for key, tensor in self._own.items():
            home = self._home[key] = tensor.data  # which may have been changed since the last call
            found = None if self._read is None else self._read(self._start + key)
            if found is not None and found.shape != home.shape:
                raise MultigenError(
                    f"{self._start}{key}: its file was changed since it was opened; open it again"
                )
            tensor.data = (home if found is None else found).to(self._device, home.dtype)

    def leave(self, *_: Any) -> None:
        for key, tensor in self._own.items():
            tensor.data = self._home[key]
