"""Taps into the attention of diffusers' networks, by forward hooks that last for one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from multigen.core.backbone import Taps


@contextmanager
def tapped(blocks: Sequence[Any], taps: Taps | None) -> Iterator[None]:
    """Hook the transformer blocks, in the order of their numbers, for what a call asks of their attention."""
    if taps is None:
        yield
        return
    with ExitStack() as hooks:
        for number, block in enumerate(blocks):
            if number in taps.skipped:
                hooks.enter_context(_hook(block, _skip))
            if number in taps.undone:
                for layer in block.transformer_blocks:
                    hooks.enter_context(_hook(layer.attn1, _identity_map))
            if taps.maps is not None:
                hooks.enter_context(_record(block, number, taps.maps.found))
        yield


@contextmanager
def _hook(module: nn.Module, hook: Any) -> Iterator[None]:
    handle = module.register_forward_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _skip(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
    """The block's input in place of its output."""
    x = args[0] if args else kwargs["hidden_states"]
    return (x, *output[1:])


def _identity_map(attention: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
    """The output of attention whose map is the identity: each place its own value."""
    x = args[0] if args else kwargs["hidden_states"]
    return attention.to_out[0](attention.to_v(x))


@contextmanager
def _record(block: Any, number: int, found: dict[int, Tensor]) -> Iterator[None]:
    """Record the attention map to the tokens, [B, L, 1, H, W], averaged over the heads."""
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
        with _hook(block.transformer_blocks[-1].attn2, attended):
            yield
    finally:
        before.remove()
