"""The modality: a line of text of `length` places, as UTF-8 files. Each place holds one character of an alphabet."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import Info, Modality, Source
from multigen.storage.files import atomic

LIMIT = 1_000_000  # bytes of one file
# A blank ends a text and fills the places after it. 64 characters are six bits.
ALPHABET = " abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ'-,.&!?():/"


class Text(Modality):
    """Media [1, N]: character k of K is the number 2 k/(K - 1) - 1. One character is one step of time, "1f".

    length    N, places of a text
    alphabet  the characters, the blank first
    """

    name, suffixes, writes, suffix, animation = "text", (".txt",), (".txt",), ".txt", ""

    def __init__(self, *, length: int = 32, alphabet: str = ALPHABET) -> None:
        if length < 1:
            raise ValueError(f"length: {length} is not allowed. Allowed: 1 or more.")
        if not alphabet.startswith(" ") or not 2 <= len(set(alphabet)) == len(alphabet) or "\n" in alphabet:
            raise ValueError("alphabet: needs a blank, then other characters of one line, each of them once.")
        self.length, self.alphabet = length, alphabet
        self._places = {character: k for k, character in enumerate(alphabet)}

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        if size is not None:
            raise ValueError("size: a text has none; its duration is the number of its characters")
        if duration is not None and round(duration) < 1:
            raise ValueError(f"duration: {duration:g} is not allowed. Allowed: 1 character or more.")
        return (1, self.length if duration is None else round(duration))

    def info(self, path: Source) -> Info:
        return Info(duration=len(self._line(path)))

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        line = self._line(path)
        try:
            media = self.tensor(line)
        except ValueError as error:
            raise MediaError(f"{path}: {error}") from error
        return media[:, round(start) : None if duration is None else round(start + duration)]

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """The first N characters; a shorter text gets blanks."""
        short = max(0, shape[1] - media.shape[1])
        return torch.cat([media[:, : shape[1]], media.new_full((1, short), -1.0)], dim=1)

    def write(self, media: Tensor, path: Path) -> None:
        if Path(path).suffix.lower() not in self.writes:
            raise MediaError(message(f"{path}: the suffix", Path(path).suffix, self.writes))
        with atomic(Path(path)) as temporary:
            temporary.write_text(self.text(media) + "\n", encoding="utf-8")

    def preview(self, media: list[Tensor]) -> Image.Image:
        lines = [self.text(one) for one in media]
        picture = Image.new("L", (16 + 7 * max(map(len, lines)), 8 + 16 * len(lines)), 255)
        for row, line in enumerate(lines):
            ImageDraw.Draw(picture).text((8, 4 + 16 * row), line, fill=0)
        return picture

    def html(self, media: Tensor) -> str:
        return f"<code>{html.escape(self.text(media)) or '&nbsp;'}</code>"

    def describe(self, shape: Sequence[int]) -> str:
        return f"{shape[-1]} characters"

    def indices(self, media: Tensor) -> Tensor:
        """The numbers of the nearest characters: [..., N] in [-1, 1] -> whole numbers [..., N]."""
        most = len(self.alphabet) - 1
        return ((media.clamp(-1, 1) + 1) * most / 2).round().long()

    def text(self, media: Tensor) -> str:
        """The text of a medium [1, N], without the blanks after it."""
        return "".join(self.alphabet[k] for k in self.indices(media[0]).tolist()).rstrip(" ")

    def tensor(self, text: str) -> Tensor:
        """The medium [1, N'] of a text. ValueError for a character that the alphabet lacks."""
        unknown = sorted(set(text) - set(self.alphabet))
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not allowed. Allowed: {self.alphabet!r}")
        places = torch.tensor([self._places[c] for c in text], dtype=torch.float32)
        return (2 * places / (len(self.alphabet) - 1) - 1)[None]

    def _line(self, path: Source) -> str:
        """The one line of a file. MediaError for a missing one, a long one, or one that is no text."""
        if not isinstance(path, Path) or not path.is_file() or path.stat().st_size > LIMIT:
            raise MediaError(f"{path}: a text is a UTF-8 file of at most {LIMIT:,} bytes")
        try:
            line = path.read_text(encoding="utf-8").rstrip("\n")
        except UnicodeDecodeError as error:
            raise MediaError(f"{path}: is not UTF-8 ({error.reason} at byte {error.start})") from error
        if "\n" in line:
            raise MediaError(f"{path}: holds several lines. Allowed: one")
        return line or self.alphabet[0]
