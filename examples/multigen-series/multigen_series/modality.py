"""The modality: time series of any number of channels, each with its name, unit and range, as CSV files."""

from __future__ import annotations

import copy
import csv
import html
import io
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import Info, Modality, Source
from multigen.storage.files import atomic

LIMIT = 100_000_000  # bytes of one file
_COLOURS = ("#3b6fb6", "#c4572e", "#3d8b4f", "#8a5ba8", "#a88a1d", "#4aa3a2")


class Series(Modality):
    """Media [C, N]: a row for each channel, its range from `low` to `high` being -1 to 1; a column for each step.

    length    N, steps
    channels  names as the header of a file has them, the unit in brackets: "speed [m/s]"
    low, high  ends of the model's range, one for each channel or one for all, in its unit
    step      between two rows, in the unit of `time`
    time      name of the column that says when; files need none

    Columns of a file are found by name, in any order; others are left out. Edits keep every value of their file to nine
    digits, and to 1e-12 of its range, also those outside it. Raises ValueError for values out of range.
    """

    name, suffixes, writes, suffix, animation = "series", (".csv",), (".csv",), ".csv", ""

    def __init__(
        self,
        *,
        length: int = 64,
        channels: tuple[str, ...] = ("value",),
        low: tuple[float, ...] = (-1.0,),
        high: tuple[float, ...] = (1.0,),
        step: float = 1.0,
        time: str = "time [s]",
    ) -> None:
        if length < 1:
            raise ValueError(f"length: {length} is not allowed. Allowed: 1 or more.")
        if not channels or len({*channels, time}) != len(channels) + 1:
            raise ValueError(
                f"channels: {list(channels)} is not allowed. Allowed: different names, none of them {time!r}."
            )
        if not (step > 0 and math.isfinite(step)):
            raise ValueError(f"step: {step} is not allowed. Allowed: more than 0.")
        ends = [values * len(channels) if len(values) == 1 else values for values in (low, high)]
        if any(len(values) != len(channels) for values in ends) or not all(
            a < b for a, b in zip(*ends, strict=True)
        ):
            raise ValueError(
                f"low, high: {list(low)}, {list(high)} is not allowed. Allowed: one rising pair a channel."
            )
        self.length, self.channels, self.step, self.time = length, channels, step, time
        self.low, self.high = (torch.tensor(values, dtype=torch.float64)[:, None] for values in ends)
        self._times, self._exact = (0.0,), False  # those of the file that this is the native modality of

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        if size is not None:
            raise ValueError("size: a series has none; give a duration")
        if duration is not None and round(duration / self.step) < 1:
            raise ValueError(f"duration: {duration:g} is not allowed. Allowed: {self.step:g} or more.")
        return (len(self.channels), self.length if duration is None else round(duration / self.step))

    def values(self, media: Tensor) -> Tensor:
        """A medium [C, N] in the units of its channels, float64."""
        return self.low + (media.double() + 1) / 2 * (self.high - self.low)

    def media(self, values: Tensor) -> Tensor:
        """Values [C, N] in units as a medium, float64, without a limit."""
        return (values.double() - self.low) / (self.high - self.low) * 2 - 1

    def info(self, path: Source) -> Info:
        _, values = self._parsed(path)
        count = values.shape[1]
        return Info(duration=count * self.step, channels=len(values), frames=count)

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        _, values = self._parsed(path)
        first = round(start / self.step)
        end = None if duration is None else first + round(duration / self.step)
        media = self.media(values)[:, first:end]
        return media if self._exact else media.clamp(-1, 1).float()

    def native(self, source: Source | Tensor) -> Series:
        """The same, which begins when the file does, and keeps its values as they are."""
        made = copy.copy(self)
        if not isinstance(source, Tensor):
            made._times, made._exact = self._parsed(source)[0] or (0.0,), True
        return made

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        assert isinstance(to, Series)
        return media if to._exact else media.clamp(-1, 1)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """N steps from the beginning, or from anywhere with `rng`; a shorter series stays at its last values."""
        free = media.shape[1] - shape[1]
        first = int(torch.randint(free + 1, (), generator=rng)) if rng is not None and free > 0 else 0
        part = media[:, first : first + shape[1]]
        return F.pad(part[None], (0, max(0, -free)), mode="replicate")[0]

    def write(self, media: Tensor, path: Path) -> None:
        if Path(path).suffix.lower() not in self.writes:
            raise MediaError(message(f"{path}: the suffix", Path(path).suffix, self.writes))
        file = io.StringIO()
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([self.time, *self.channels])
        places = [12 - math.ceil(math.log10(wide)) for wide in (self.high - self.low)[:, 0].tolist()]
        lines = self.values(media.detach().cpu()).T.tolist()
        for time, row in zip(self._clock_of(len(lines)), lines, strict=True):
            rows.writerow([time, *(f"{v:.9g}" for v in map(round, row, places))])
        with atomic(Path(path)) as temporary:
            temporary.write_text(file.getvalue(), encoding="utf-8")

    def preview(self, media: list[Tensor]) -> Image.Image:
        picture = Image.new("RGB", (320, 80 * len(media)), "white")
        draw = ImageDraw.Draw(picture)
        for row, medium in enumerate(media):
            for k, line in enumerate(medium.clamp(-1, 1).tolist()):
                wide = 316 / max(len(line) - 1, 1)
                points = [(2 + wide * n, 80 * row + 40 - 36 * v) for n, v in enumerate(line)]
                draw.line(points, _COLOURS[k % len(_COLOURS)])
        return picture

    def html(self, media: Tensor) -> str:
        lines = []
        for k, (name, line) in enumerate(zip(self.channels, media.clamp(-1, 1).tolist(), strict=True)):
            points = " ".join(f"{n},{50 - 45 * v:.1f}" for n, v in enumerate(line))
            title = f"<title>{html.escape(name)}</title>"
            colour = _COLOURS[k % len(_COLOURS)]
            lines.append(f'<polyline points="{points}" fill="none" stroke="{colour}">{title}</polyline>')
        return f'<svg viewBox="0 0 {media.shape[1]} 100" width="200">{"".join(lines)}</svg>'

    def describe(self, shape: Sequence[int]) -> str:
        return f"{shape[-1]} steps of {self.step:g} ({self.time}), {shape[0]} channels"

    def _clock_of(self, count: int) -> list[str]:
        """The times of `count` rows: those that the file has, then steps from the last; to a millionth of a step."""
        known = self._times[:count]
        more = (known[-1] + k * self.step for k in range(1, count - len(known) + 1))
        places = max(0, 6 - math.floor(math.log10(self.step)))
        return [f"{round(v, places):.15g}" for v in (*known, *more)]

    def _parsed(self, path: Source) -> tuple[tuple[float, ...], Tensor]:
        """The times of a file's rows, and its values [C, N], float64. MediaError names the fault and the row."""
        if not isinstance(path, Path) or not path.is_file() or path.stat().st_size > LIMIT:
            raise MediaError(f"{path}: a series is a CSV file of at most {LIMIT:,} bytes")
        try:
            rows = [row for row in csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))) if row]
        except (UnicodeDecodeError, csv.Error) as error:
            raise MediaError(f"{path}: is no CSV in UTF-8 ({error})") from error
        names = [name.strip() for name in rows[0]] if rows else []
        for name in self.channels:
            if name not in names:
                raise MediaError(message(f"{path}: the columns lack", name, names or ["none"]))
        if len(rows) < 2:
            raise MediaError(f"{path}: there is no row below the header")
        wanted = [names.index(name) for name in self.channels]
        found = [[_number(path, k, row, c) for c in wanted] for k, row in enumerate(rows[1:], 2)]
        return self._clock(path, names, rows[1:]), torch.tensor(found, dtype=torch.float64).T

    def _clock(self, path: Path, names: list[str], rows: list[list[str]]) -> tuple[float, ...]:
        """The times of a file; none where it does not say. MediaError for steps that are not the model's."""
        if self.time not in names:
            return ()
        place = names.index(self.time)
        times = [_number(path, k, row, place) for k, row in enumerate(rows, 2)]
        for k, (a, b) in enumerate(pairwise(times), 3):
            if abs(b - a - self.step) > 0.01 * self.step:
                raise MediaError(
                    f"{path}: row {k}: {self.time} goes on by {b - a:g}; the model's step is {self.step:g}. Resample it"
                )
        return tuple(times)


def _number(path: Path, number: int, row: list[str], column: int) -> float:
    try:
        value = float(row[column])
    except (ValueError, IndexError):
        value = math.nan
    if not math.isfinite(value):
        given = row[column] if column < len(row) else "nothing"
        raise MediaError(
            f"{path}: row {number}, column {column + 1}: {given!r} is no number; fill in what is missing"
        )
    return value
