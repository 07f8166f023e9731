"""Condition on the number of a class, for networks that come with a table of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from multigen.conditioners import Conditioner
from multigen.conditioners.prompts import column
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError


class ClassIndex(Conditioner):
    """The number of a class as `Cond.extra["class"]`, [B, 1]; the network has the table.

    classes  how many there are

    There is no number for no class: `null` is class 0, which guides that take it cannot lead away from. ValueError for
    no classes.
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"classes: {classes} is not allowed. Allowed: 1 or more.")
        self.spec, self.classes = CondSpec(), classes

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["label"]: B numbers -> their column."""
        labels = torch.as_tensor(column(batch, "label", "class_index"), dtype=torch.int64)
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise ValueError(f"label outside 0 to {self.classes - 1}: {labels.tolist()}")
        return Cond(extra={"class": labels[:, None]})

    def null(self, batch_size: int) -> Cond:
        """Return class 0."""
        return self({"label": [0] * batch_size})

    def prompt_for(self, caption: str, label: int | None) -> str:
        """The number of the item's class; in data without classes its caption."""
        return caption if label is None else str(label)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return the numbers. MultigenError for anything else."""
        for prompt in prompts:
            text = prompt.strip()
            if not (text.isascii() and text.isdigit() and int(text) < self.classes):
                raise MultigenError(
                    f"prompt: {prompt!r} is not allowed. Allowed: the number of a class, 0 to {self.classes - 1}."
                )
        return {"label": [int(prompt) for prompt in prompts]}
