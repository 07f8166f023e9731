"""Condition on a class, or on nothing at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from multigen.conditioners import Conditioner
from multigen.conditioners.prompts import column, no_prompt
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError, message
from multigen.prompts.normal import normalised


class Label(Conditioner):
    """A learned vector for each class, and one more for the unconditional condition.

    classes  names in the order of the labels; a recipe that leaves them null gets the dataset's
    width    length of a vector

    ValueError for no classes, for repeated ones, and for a width below 1.
    """

    def __init__(self, *, classes: tuple[str, ...] | None = None, width: int = 128) -> None:
        super().__init__()
        if not classes:
            raise ValueError("classes: neither the data nor the recipe name any; a label needs at least one")
        twice = sorted({c for c in classes if classes.count(c) > 1})
        if twice:
            raise ValueError(f"classes: named more than once: {', '.join(twice)}")
        if width < 1:
            raise ValueError(f"width: {width} is not allowed. Allowed: 1 or more.")
        self.classes = classes
        self.spec = CondSpec(vector=width)
        self.embedding = nn.Embedding(len(classes) + 1, width)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["label"]: B integers, `len(classes)` meaning no class -> vector [B, width]."""
        labels = torch.as_tensor(column(batch, "label", "label"), dtype=torch.int64)
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= len(self.classes):
            raise ValueError(f"label outside 0 to {len(self.classes) - 1}: {labels.tolist()}")
        return self._vectors(labels)

    def null(self, batch_size: int) -> Cond:
        """Return the learned vector of no class, [B, width]."""
        return self._vectors(torch.full((batch_size,), len(self.classes)))

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return the labels of class names, or of indices as text; '' is no class. MultigenError for anything else."""
        return {"label": [self._index(p) for p in prompts]}

    def prompt_for(self, caption: str, label: int | None) -> str:
        """The name of the item's class; in data without classes its caption."""
        return caption if label is None else self.classes[label]

    def _vectors(self, labels: Tensor) -> Cond:
        return Cond(vector=self.embedding(labels.to(self.embedding.weight.device)))

    def _index(self, prompt: str) -> int:
        text = normalised(prompt.strip())
        if not text:
            return len(self.classes)
        if text in self.classes:  # before the index: a number can be the name of a class
            return self.classes.index(text)
        folded = [normalised(c).casefold() for c in self.classes]
        if folded.count(text.casefold()) == 1:
            return folded.index(text.casefold())
        if text.isascii() and text.isdigit() and int(text) < len(self.classes):
            return int(text)
        hint = f"Give a class, its index (0 to {len(self.classes) - 1}), or nothing for no class."
        raise MultigenError(message("prompt", prompt, self.classes, hint))


class Nothing(Conditioner):
    """No condition: an unconditional model."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = CondSpec()

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """Return an empty `Cond`, whatever the batch holds."""
        return Cond()

    def null(self, batch_size: int) -> Cond:
        """Return the same empty `Cond`."""
        return Cond()

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return an empty batch for empty prompts. MultigenError for a prompt, which would be ignored."""
        no_prompt(prompts)
        return {}
