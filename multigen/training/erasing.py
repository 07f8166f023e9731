"""Erasing: a network unlearns a concept, and keeps the rest (ESD, Gandikota et al. 2023, arXiv:2303.07345).

For the concept c the student shall answer what leads away from it, as far as the teacher knows it (eq. 7, in x0):

    x0' = D(x_t, null) - scale (D(x_t, c) - D(x_t, null))

and for all other captions of its data what the teacher answers. The paper moves the cross-attention alone to spare the
rest; here the rest is trained on, and the student may be a LoRA. The paper draws x_t out of samples of c that
the student makes; here it is an item of the data with noise, whatever its caption, so that nothing has to be sampled.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.registry import Given
from multigen.training.distillation import Distillation, Lesson, Teacher


class Erase(Distillation):
    """The student no longer makes a concept (ESD, Gandikota et al. 2023, arXiv:2303.07345, eq. 7).

    prompts  that name the concept, in every form that the data's captions have: those are unlearned, others taught on
    share    of the rows that are about the concept, whatever their caption
    scale    how far the answer leads away from the concept: 0 answers as without a prompt
    """

    def __init__(
        self,
        *,
        teacher: Given[Teacher],
        encode: Given[Callable[..., Cond]],
        prompts: tuple[str, ...],
        share: float = 0.3,
        scale: float = 1.0,
    ) -> None:
        if not prompts or not all(one.strip() for one in prompts):
            raise ValueError("prompts: name the concept, such as [banana, yellow banana].")
        if not 0 < share < 1 or not scale >= 0:
            raise ValueError(f"share {share}, scale {scale}: share is above 0 and below 1, scale 0 or more.")
        self.teacher, self.encode, self.prompts = teacher, encode, prompts
        self.share, self.scale = share, scale
        self._found: Cond | None = None

    def told(self, cond: Cond, u: Tensor) -> Cond:
        """Name the concept to the rows that are about it, in place of their own captions."""
        named = self._concepts()[(u / self.share * len(self.prompts)).long() % len(self.prompts)]
        named = dataclasses.replace(named, grid=cond.grid, extra=cond.extra)
        return cond.where(u >= self.share, named)

    def target(self, lesson: Lesson) -> Tensor:
        """Return what leads away from the concept for rows about it, and the teacher's answer for others."""
        cond, denoiser = self.told(lesson.cond, lesson.u), self.teacher.denoiser
        found = denoiser(lesson.x, lesson.t, cond)
        rows = ((lesson.u < self.share) | self._named(lesson.cond).cpu()).nonzero()[:, 0]
        if len(rows) == 0:
            return found
        on = rows.to(found.device)
        null = denoiser(lesson.x[on], lesson.t[rows], lesson.null[on])
        found[on] = null - self.scale * (found[on] - null)
        return found

    def _concepts(self) -> Cond:
        """The condition of each prompt."""
        if self._found is None:
            with torch.no_grad():
                self._found = self.encode(*self.prompts)
        return self._found

    def _named(self, cond: Cond) -> Tensor:
        """Which rows [B] name the concept by themselves."""
        concepts = self._concepts()
        known = [
            (a, b)
            for a, b in ((cond.vector, concepts.vector), (_words(cond), _words(concepts)))
            if a is not None
        ]
        near = [
            torch.isclose(a[:, None], b[None], rtol=1e-3, atol=1e-4).all(-1)
            for a, b in known
            if b is not None
        ]  # [B, prompts] each
        return torch.stack(near).all(0).any(1)


def _words(cond: Cond) -> Tensor | None:
    """The sum of a row's valid tokens [B, K], and their number: what tells captions apart."""
    if cond.tokens is None or cond.mask is None:
        return None
    valid = cond.mask[..., None].to(cond.tokens.dtype)
    return torch.cat([(cond.tokens * valid).sum(1), valid.sum(1)], dim=1)
