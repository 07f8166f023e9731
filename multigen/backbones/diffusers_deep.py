"""Deep features of diffusers' networks: what their inner blocks make, taken and put back for one call.

U-Nets (DeepCache: Ma et al. 2023, arXiv:2312.00858): with k outer levels, the first k blocks down and the last k up run
in every call; the features are what enters the latter. Transformers: k blocks at each end run; the features are what
those between add to each stream, its residual (Liu et al. 2024, arXiv:2411.19108, section 3.3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from multigen.core.deep import Deep, Features

# Lists of blocks of transformers, in the order in which x passes them.
_LISTS = ("blocks", "transformer_blocks", "single_transformer_blocks")
_STREAMS = ("hidden_states", "encoder_hidden_states")


class Inner:
    """The blocks of a network, in order. It keeps nothing of a call."""

    def __init__(self, network: nn.Module) -> None:
        parts: Mapping[str, Any] = dict(network.named_children())
        self.down, self.up = (list(parts.get(name) or ()) for name in ("down_blocks", "up_blocks"))
        self.middle = parts.get("mid_block")
        self.blocks = [] if self.up else [block for name in _LISTS for block in parts.get(name) or ()]
        count = len(self.up) - 1 if len(self.up) == len(self.down) else 0
        self.outermost = max(count, 0) if self.up else max(len(self.blocks) - 1, 0) // 2

    @contextmanager
    def deep(self, deep: Deep | None, batch: int) -> Iterator[None]:
        """Inside the block a call of the network keeps what its inner blocks make, or takes it in their place.

        batch  B of the call; networks of videos make rows of the frames of each sample
        """
        if deep is None:
            yield
            return
        kept: dict[int, Features] = {}
        with ExitStack() as stack:
            if deep.made is not None:
                take = self._levels if self.up else self._between
                for block, forward in take(deep.outer[0], tuple(one.flatten(0, 1) for one in deep.made)):
                    stack.enter_context(_replaced(block, forward))
            else:
                for outer in deep.outer:
                    stack.enter_context(self._kept(outer, kept))
            yield
        for outer, made in kept.items():
            deep.kept[outer] = tuple(one.unflatten(0, (batch, -1)) for one in made)

    def _levels(self, outer: int, made: Features) -> Iterator[tuple[Any, Any]]:
        """The inner blocks of a U-Net, and what they do in a shallow call: the last of them gives the features."""
        for block in self.down[outer:]:
            count = len(block.resnets) + (block.downsamplers is not None)
            yield block, lambda *_, count=count, **__: (_nothing(made), (_nothing(made),) * count)
        if self.middle is not None:
            yield self.middle, lambda *_, **__: _nothing(made)
        for block in self.up[:-outer]:
            yield block, lambda *_, **__: made[0]

    def _between(self, outer: int, made: Features) -> Iterator[tuple[Any, Any]]:
        """The inner blocks of a transformer, and what they do in a shallow call: the first of them adds all."""
        zero = tuple(_nothing(made) for _ in made)
        for number, block in enumerate(self.blocks[outer:-outer]):
            yield block, _adding(zero if number else made)

    @contextmanager
    def _kept(self, outer: int, kept: dict[int, Features]) -> Iterator[None]:
        if self.up:
            with _before(self.up[-outer], lambda streams: kept.update({outer: (streams[0],)})):
                yield
            return
        first, last = self.blocks[outer], self.blocks[-outer - 1]
        entered: list[tuple[Tensor, ...]] = []

        def left(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            kept[outer] = tuple(b - a for a, b in zip(entered[0], _outputs(output), strict=False))

        handle = last.register_forward_hook(left, with_kwargs=True)
        try:
            with _before(first, entered.append):
                yield
        finally:
            handle.remove()


def _nothing(made: Features) -> Tensor:
    """Zero, of any shape: what ControlNets add to it goes nowhere."""
    return torch.zeros((), device=made[0].device, dtype=made[0].dtype)


def _adding(more: Features) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        streams = [a + b for a, b in zip(_inputs(args, kwargs), more, strict=False)]
        return streams[0] if len(more) == 1 else (streams[1], streams[0])

    return forward


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Tensor, ...]:
    """The streams that enter a block, that of the sample first."""
    given = dict(zip(_STREAMS, args, strict=False)) | {k: v for k, v in kwargs.items() if k in _STREAMS}
    return tuple(given[name] for name in _STREAMS if given.get(name) is not None)


def _outputs(output: Any) -> tuple[Tensor, ...]:
    """The streams that leave a block, that of the sample first; of two, the text's comes first in diffusers."""
    return tuple(reversed(output)) if isinstance(output, tuple) else (output,)


@contextmanager
def _before(block: nn.Module, see: Any) -> Iterator[None]:
    """Inside the block `see` gets the streams that enter a module."""

    def entered(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(_inputs(args, kwargs))

    handle = block.register_forward_pre_hook(entered, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _replaced(block: nn.Module, forward: Any) -> Iterator[None]:
    """Inside the block a module does something else."""
    before = vars(block).get("forward")
    block.forward = forward
    try:
        yield
    finally:
        if before is None:
            del block.forward
        else:
            block.forward = before
