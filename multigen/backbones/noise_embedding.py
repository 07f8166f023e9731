"""The embedding of the noise level, the condition's vector, a guidance scale w and a video frame's place.

    phases   2 pi c_noise/period, periods from 80 to 1 (geometric)
    h        = W_1 [cos phases, sin phases] + W_v vector + W_g [w, log(1 + w)] + W_t [cos places, sin places]
    output   = silu(W_2 silu(h))

Sinusoidal embedding: Vaswani et al. 2017 (arXiv:1706.03762), section 3.5. c_noise is the log-SNR within ±20, so the
longest period is twice its range.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.layers import zeroed

_PLACE = 32  # features of a frame's place


def frame_frequencies(n: int) -> Tensor:
    """n angular frequencies in radians per frame, from 1 down to 0.01."""
    return torch.logspace(0.0, -2.0, n)


class NoiseEmbedding(nn.Module):
    """c_noise [B] and cond.vector [B, K] -> [R, E], activated.

    features  number of sines and cosines of c_noise
    width     E
    vector    K; 0: there is no vector
    axes      3: each frame's place is added, too, starting at zero
    guided    a guidance scale is added, too, starting at zero

    The vector joins before the first activation, so that its effect can depend on the noise level. Attention over time
    knows only the distance between frames; the place tells which frame is the first, as "moving left" needs.
    """

    def __init__(self, features: int, width: int, vector: int, axes: int, *, guided: bool = False) -> None:
        super().__init__()
        # Not on the meta device, where torch imports its compiler to reckon with numbers: a second.
        frequencies = 2 * math.pi / torch.logspace(math.log10(80.0), 0.0, features // 2, device="cpu")
        self.register_buffer("frequencies", frequencies.to(torch.get_default_device()), persistent=False)
        self.frequencies: Tensor
        self.noise = nn.Linear(features // 2 * 2, width)
        self.vector = nn.Linear(vector, width, bias=False) if vector else None
        self.guidance = zeroed(nn.Linear(2, width, bias=False)) if guided else None
        self.time_place = zeroed(nn.Linear(_PLACE, width, bias=False)) if axes == 3 else None
        if axes == 3:
            self.register_buffer("places", frame_frequencies(_PLACE // 2), persistent=False)
            self.places: Tensor
        self.out = nn.Linear(width, width)

    def forward(
        self, c_noise: Tensor, vector: Tensor | None, frames: int, scale: Tensor | None = None
    ) -> Tensor:
        """c_noise [B], vector [B, K], guidance scale [B, 1] -> [R, E]."""
        phase = c_noise[:, None] * self.frequencies.to(c_noise.dtype)
        h = self.noise(torch.cat([phase.cos(), phase.sin()], dim=1))
        if self.vector is not None and vector is not None:
            h = h + self.vector(vector)
        if self.guidance is not None and scale is not None:
            h = h + self.guidance(torch.cat([scale, scale.log1p()], dim=1).to(h.dtype))
        if self.time_place is not None:
            angle = torch.arange(frames, device=h.device)[:, None] * self.places
            place = torch.cat([angle.cos(), angle.sin()], dim=1).to(h.dtype)
            h = (h[:, None] + self.time_place(place)).flatten(0, 1)
        return F.silu(self.out(F.silu(h)))
