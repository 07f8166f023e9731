"""Attention over space, over time and to a condition's tokens.

    attend(Q, K, V) = softmax(Q K^T/sqrt(d)) V        (Vaswani et al. 2017, arXiv:1706.03762, eq. 1)

Attention over time rotates queries and keys by their frame (RoFormer: Su et al. 2021, arXiv:2104.09864, eq. 34), which
gives it their order without fixing a length. M counts sequences, in which each place of a folded tensor is a token.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.layers import Context, norm, zeroed
from multigen.backbones.noise_embedding import frame_frequencies


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate pairs of features of [M, heads, L, K] by angles [L, K // 2] in radians."""
    half = angle.shape[1]
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x[..., :half], x[..., half : 2 * half], x[..., 2 * half :]
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention of q [M, heads, L, K] to k and v [M, heads, L', K], where mask [M, 1, 1, L'] is True.

    In bf16 on a CPU the backward pass of the fused kernel takes two to ten times as long as two products and a softmax
    (measured at 16 to 128 positions), so short sequences take those.
    """
    if q.device.type != "cpu" or q.dtype != torch.bfloat16 or q.shape[-2] * k.shape[-2] > 512**2:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.float().softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    """Multi-head attention of sequences [M, L, C] to themselves or to `other` [M, L', K]; zero before training.

    width       C
    head_width  narrowest head, in channels
    other       K; 0: attention to the sequence itself
    rotary      rotate queries and keys by their place
    """

    def __init__(self, width: int, *, head_width: int, other: int = 0, rotary: bool = False) -> None:
        super().__init__()
        heads = max(1, width // head_width)
        while width % heads:
            heads -= 1
        self.heads, self.rotary = heads, rotary
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(other or width, 2 * width)
        self.out = zeroed(nn.Linear(width, width))
        if rotary:
            self.register_buffer("frequencies", frame_frequencies(width // heads // 2), persistent=False)
            self.frequencies: Tensor

    def forward(
        self,
        x: Tensor,
        other: Tensor | None = None,
        mask: Tensor | None = None,
        *,
        places: Tensor | None = None,
        undone: bool = False,
    ) -> Tensor:
        """[M, L, C] -> the same shape.

        places  [L], by which a rotary one rotates
        undone  the attention map is the identity
        """
        if undone:
            return self.out(self.key_value(x).chunk(2, dim=-1)[1])
        q = self._split(self.query(x))
        k, v = map(self._split, self.key_value(x if other is None else other).chunk(2, dim=-1))
        if self.rotary and places is not None:
            angle = places[:, None] * self.frequencies
            q, k = rotate(q, angle), rotate(k, angle)
        y = attend(q, k, v, None if mask is None else mask[:, None, None, :])
        return self.out(y.transpose(1, 2).flatten(2))

    def map(self, x: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        """Return the attention map [M, L', L] of x [M, L, C] to other [M, L', K], averaged over the heads."""
        q, k = self._split(self.query(x)), self._split(self.key_value(other).chunk(2, dim=-1)[0])
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
        if mask is not None:
            scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
        return scores.float().softmax(-1).mean(1).transpose(1, 2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class AttentionBlock(nn.Module):
    """Attention over space (or the one axis), over time in video, and to the condition's tokens.

    number  among the backbone's attention blocks, for taps
    """

    def __init__(self, width: int, *, axes: int, head_width: int, groups: int, tokens: int) -> None:
        super().__init__()
        self.number = -1
        self.norm = norm(width, groups)
        self.attention = Attention(width, head_width=head_width)
        self.time_norm = norm(width, groups) if axes == 3 else None
        self.time_attention = Attention(width, head_width=head_width, rotary=True) if axes == 3 else None
        self.cross_norm = norm(width, groups) if tokens else None
        self.token_norm = nn.LayerNorm(tokens) if tokens else None
        self.cross_attention = Attention(width, head_width=head_width, other=tokens) if tokens else None

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[R, C, H, W] -> the same shape."""
        taps = context.taps
        if taps is not None and self.number in taps.skipped:
            return x
        undone = taps is not None and self.number in taps.undone
        x = x + _grid(self.attention(_sequence(self.norm(x)), undone=undone), x)
        if self.time_norm is not None and self.time_attention is not None:
            s = _sequence(self.time_norm(x)).unflatten(0, (-1, context.frames))  # [B, T, HW, C]
            places = torch.arange(context.frames, device=x.device)
            s = self.time_attention(s.transpose(1, 2).flatten(0, 1), places=places)
            s = s.unflatten(0, (-1, x.shape[2] * x.shape[3])).transpose(1, 2).flatten(0, 1)
            x = x + _grid(s, x)
        if self.cross_norm is not None and self.token_norm is not None and self.cross_attention is not None:
            assert context.tokens is not None
            s = _sequence(self.cross_norm(x))
            joined = s.reshape(
                context.tokens.shape[0], -1, s.shape[-1]
            )  # a video's frames share their tokens
            tokens = self.token_norm(context.tokens)
            if taps is not None and taps.maps is not None:
                shares = self.cross_attention.map(joined, tokens, context.mask)
                taps.maps.found[self.number] = shares.unflatten(2, (-1, *x.shape[2:]))  # [B, L', T, H, W]
            joined = self.cross_attention(joined, tokens, context.mask)
            x = x + _grid(joined.reshape(s.shape), x)
        return x


def _sequence(x: Tensor) -> Tensor:
    """[R, C, H, W] -> [R, H*W, C]."""
    return x.flatten(2).transpose(1, 2)


def _grid(s: Tensor, like: Tensor) -> Tensor:
    """[R, H*W, C] -> [R, C, H, W]."""
    return s.transpose(1, 2).unflatten(2, like.shape[2:])
