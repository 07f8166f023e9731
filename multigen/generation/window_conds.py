"""What a prompt says in each sliding window: a long medium may open and end with words of their own."""

from __future__ import annotations

import torch

from multigen.core.conditioning import Cond
from multigen.core.sliding_window import Crop
from multigen.generation.parts import ModelParts, encode_prompts
from multigen.generation.plan import Plan


class WindowConds:
    """The condition of a prompt, and those that it has in addition in the first and in the last sliding window.

    Words are for texts, not for classes, and for what is made whole: an edit goes on from what is there.
    """

    def __init__(self, parts: ModelParts, prompt: str, plan: Plan) -> None:
        sample = plan.recipe.sample
        whole = plan.window is not None and not plan.circles and plan.edit is None
        words = (sample.opening, sample.ending) if prompt and whole and parts.conditioner.text else ("", "")
        n, *others = plan.shape[1:]
        self._places = torch.arange(n).view(1, 1, n, *(1 for _ in others)).expand(1, 1, n, *others)
        self.own = said = conditional(parts, plan, prompt)
        self._first, self._last = (
            conditional(parts, plan, f"{prompt}, {word}") if word else said for word in words
        )
        # What runs along a piece knows of its end in all windows: the last but one sees some of it, too.
        self.own, self._first = said.with_grid_of(self._last), self._first.with_grid_of(self._last)
        self._differ = any(words)

    def of(self, crop: Crop) -> Cond:
        """The condition of one window, by what it holds of the first axis."""
        cond = self._here(crop(self._places)) if self._differ else self.own
        return cond if cond.grid is None else cond.with_grid(crop(cond.grid))

    def _here(self, places: torch.Tensor) -> Cond:
        if places.min() == 0:
            return self._first
        return self._last if places.max() == self._places.max() else self.own


def conditional(parts: ModelParts, plan: Plan, prompt: str) -> Cond:
    """The condition of a prompt, with what the plan's pictures say."""
    size = plan.shape[1:]
    cond = encode_prompts(
        parts, prompt, media=plan.media, size=size, options=plan.options, made=_made(plan, size)
    )
    cond = cond if parts.cascade is None else parts.cascade.mark(cond, True)
    return cond if plan.pictures is None else plan.pictures.on(cond)


def _made(plan: Plan, size: tuple[int, ...]) -> torch.Tensor | None:
    """Where a plan makes its medium anew, bool [*size]; None where it makes it whole."""
    if plan.edit is not None:
        keep = plan.edit.keep
        return torch.ones(size, dtype=torch.bool) if keep is None else ~keep.cpu()
    return torch.zeros(size, dtype=torch.bool) if plan.known is not None or plan.circles else None


@torch.no_grad()
def unconditional(parts: ModelParts, plan: Plan) -> Cond:
    """The condition of the plan's negative prompt, or the null condition, without what its pictures say."""
    negative = plan.negative_prompt
    if negative:
        null = parts.conditioner.opposed(encode_prompts(parts, negative, options=plan.options))
    else:
        null = parts.conditioner.null(1).to(parts.device)
    null = null if parts.cascade is None else parts.cascade.mark(null, False)
    return null if plan.pictures is None else plan.pictures.off(null)
