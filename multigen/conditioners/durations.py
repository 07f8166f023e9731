"""How long phones last: a linear model of their logarithm, of a phone, its neighbours and the voice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.conditioners.phones import PAUSE, TOKENS, Spoken

_FEATURES = 3 * TOKENS + 4
_SHORTEST, _LONGEST = 0.015, 0.6  # s, of what is predicted
_RIDGE = 3.0  # phones' worth of evidence for the mean of all
_NOBODY = 0.09  # s, before anything was measured


class Durations(nn.Module):
    """Least squares of log seconds for each voice, with a penalty that draws towards the mean.

    voices  how many there are
    """

    weights: Tensor

    def __init__(self, voices: int) -> None:
        super().__init__()
        weights = torch.zeros(voices, _FEATURES)
        weights[:, -1] = math.log(_NOBODY)
        self.register_buffer("weights", weights)

    def forward(self, tokens: Sequence[int], voice: int | None) -> Tensor:
        """Seconds of each token [L], float64; of no voice in particular, the mean of all."""
        weights = self.weights.double().cpu()
        own = weights.mean(0) if voice is None else weights[voice]
        return (_features(tokens) @ own).exp().clamp(_SHORTEST, _LONGEST)

    def fit(self, items: Iterable[tuple[Spoken, int | None]]) -> None:
        """Measure what was spoken, by the number of its voice. The first and the last token are cut or silence."""
        voices = len(self.weights)
        gram = torch.zeros(voices, _FEATURES, _FEATURES, dtype=torch.float64)
        moment = torch.zeros(voices, _FEATURES, dtype=torch.float64)
        for spoken, voice in items:
            if voice is None or len(spoken.tokens) < 3:
                continue
            ends = torch.tensor((spoken.first, *spoken.ends), dtype=torch.float64)
            rows, seconds = _features(spoken.tokens)[1:-1], (ends[1:] - ends[:-1])[1:-1]
            gram[voice] += rows.T @ rows
            moment[voice] += rows.T @ seconds.clamp(min=_SHORTEST).log()
        penalty = torch.full((_FEATURES,), _RIDGE, dtype=torch.float64)
        penalty[-1] = 1e-6  # the mean is not drawn towards 0
        for voice in range(voices):
            if moment[voice].any():
                found = torch.linalg.solve(gram[voice] + penalty.diag(), moment[voice])
                self.weights[voice] = found.to(self.weights)


def _features(tokens: Sequence[int]) -> Tensor:
    """Rows [L, features] of a token, the one before and the one after, how near the next pause is, and 1."""
    padded = torch.tensor([PAUSE, PAUSE, *tokens, PAUSE, PAUSE])
    here, before, after = padded[2:-2], padded[1:-3], padded[3:-1]
    far, early = padded[4:], padded[:-4]
    near = torch.stack([after == PAUSE, far == PAUSE, early == PAUSE, torch.ones(len(tokens))], 1)
    return torch.cat([*(F.one_hot(one, TOKENS) for one in (here, before, after)), near], 1).double()
