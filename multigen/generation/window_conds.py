"""What a prompt says in each sliding window: a long medium may open and end with words of their own."""

from __future__ import annotations

import torch

from multigen.core.conditioning import Cond
from multigen.core.sliding_window import Crop
from multigen.generation.parts import ModelParts, encode_prompts
from multigen.generation.plan import Plan


class WindowConds:
    """The condition of a prompt, and those that it has in addition in the first and in the last sliding window."""

    def __init__(self, parts: ModelParts, prompt: str, plan: Plan) -> None:
        sample = plan.recipe.sample
        words = (sample.opening, sample.ending) if prompt and plan.window and not plan.tile else ("", "")
        n, *others = plan.shape[1:]
        self._places = torch.arange(n).view(1, 1, n, *(1 for _ in others)).expand(1, 1, n, *others)
        self.own = encode_prompts(parts, prompt)
        self._first, self._last = (
            encode_prompts(parts, f"{prompt}, {word}") if word else self.own for word in words
        )

    def of(self, crop: Crop) -> Cond:
        """The condition of one window, by what it holds of the first axis."""
        if self._first is self._last is self.own:
            return self.own
        places = crop(self._places)
        if places.min() == 0:
            return self._first
        return self._last if places.max() == self._places.max() else self.own
