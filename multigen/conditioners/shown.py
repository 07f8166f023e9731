"""What a model is told of a medium that it makes another one for: its features, pooled and in place."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.conditioners import Extent
from multigen.conditioners.align import align, fold_pixels
from multigen.conditioners.extractors import Extractor
from multigen.errors import MediaError, MultigenError, RecipeError
from multigen.modalities import HEIGHT, TIME, WIDTH, Modality
from multigen.modalities.guard import Guard
from multigen.modalities.media import Media
from multigen.modalities.pace import per_second
from multigen.registry import Part

COLUMN = "condition"  # of a batch, and the name of the option
_PIECE = 4.0  # s of a video that are decoded at once
_SHORT = 1.5  # steps of the source, by which a medium of about the model's own length may differ from it


@dataclass(frozen=True, eq=False)
class Opened:
    """A condition that was read.

    medium  as the model is told of it
    source  the file, or the medium in memory, that a request named
    """

    medium: Media
    source: Path | Media


class Shown(nn.Module):
    """Reads conditions of one modality, extracts their features and aligns them with what is made.

    modality  of what is made
    source    of the conditions
    extract   the extractors
    pixels    how many neighbouring pixels along each side become channels, as of the codec `pixels`

    The first channel says that there is a condition. Where there is none, all are zero.
    """

    def __init__(
        self, modality: Modality, source: Mapping[str, Any], extract: Sequence[Mapping[str, Any]], pixels: int
    ) -> None:
        super().__init__()
        if pixels < 1:
            raise ValueError(f"pixels: {pixels} is not allowed. Allowed: 1 or more.")
        self.modality, self.pixels = modality, pixels
        self.source: Modality = registry.build(
            "modality", _part(source, "source"), where="conditioner.source"
        )
        if not extract:
            raise ValueError("extract: none are named. Allowed: parts of the kind extractor.")
        given = {"modality": self.source}
        self.extractors = nn.ModuleList(
            registry.build(
                "extractor", _part(one, f"extract.{k}"), where=f"conditioner.extract.{k}", given=given
            )
            for k, one in enumerate(extract)
        )
        self._axes, self._pace, self._own_pace = modality.axes, per_second(self.source), per_second(modality)
        self._guard = Guard()

    @property
    def pooled(self) -> int:
        """How many numbers say what a condition is as a whole."""
        return 1 + sum(e.width for e in self._all())

    @property
    def width(self) -> int:
        """How many channels run along what is made; 0 where its axes have no names."""
        if not self._axes:
            return 0
        return 1 + sum(e.width * (1 if HEIGHT not in self._axes else self.pixels**2) for e in self._all())

    def _all(self) -> list[Extractor]:
        return [e for e in self.extractors if isinstance(e, Extractor)]

    def read(self, value: object) -> Media | None:
        """A request's condition, a file or a medium, as one of the source's modality; None: there is none.

        MultigenError for what cannot be read, and for a medium of another kind.
        """
        found = self.opened(value)
        return None if found is None else found.medium

    def opened(self, value: object, media: tuple[int, ...] | None = None) -> Opened | None:
        """As `read`, with where it came from; of pictures for media [C, *D] only what those are told of."""
        if isinstance(value, Opened):
            found = value
        elif value is None or (isinstance(value, str) and not value):
            return None
        elif isinstance(value, str | Path):
            path = Path(value).expanduser()
            found = Opened(self._from_file(path), path)
        else:
            medium = self._checked(value)
            found = Opened(medium, medium)
        return found if media is None else dataclasses.replace(found, medium=self._kept(found.medium, media))

    def replaced(self, value: object, medium: Media) -> Opened:
        """A condition whose medium is another, and whose source is what a request named."""
        found = self.opened(value)
        assert found is not None
        return dataclasses.replace(found, medium=medium)

    def _kept(self, medium: Media, media: tuple[int, ...]) -> Media:
        """As much of a medium as is told: a photo of 40 megapixels is not kept for a picture of 64x64.

        Where its averages are told at another size than its places it stays, as resizing twice would blur.
        """
        if HEIGHT in self.source.axes and HEIGHT in self._axes and media[-2:] != self.source.shape()[-2:]:
            return medium
        fitted = self._fitted(medium, media)
        return medium if fitted.numel() >= medium.tensor.numel() else Media(fitted, self.source)

    def _checked(self, value: object) -> Media:
        """A medium from Python. MultigenError for one of another kind, and for what is none."""
        if isinstance(value, Tensor):
            value = Media(value, self.source)
        if isinstance(value, Media):
            if value.modality.name != self.source.name:
                raise MultigenError(
                    f"{COLUMN}: {value.modality.name} is not allowed. Allowed: {self.source.name}."
                )
            return value
        raise MultigenError(f"{COLUMN}: {value!r} is not allowed. Allowed: a file, or a medium.")

    def _from_file(self, path: Path) -> Media:
        """The medium of a file. MultigenError for one that cannot be read."""
        try:
            return Media(self._guard(path, _read, self.source, path, HEIGHT in self._axes), self.source)
        except MediaError as error:
            raise MediaError(f"{COLUMN}: {error}") from error

    def extent(self, value: object) -> Extent | None:
        """How long what is made for a condition is; None where the modality's own length fits."""
        medium = self.read(value) if TIME in self._axes and TIME in self.source.axes else None
        if medium is None:
            return None
        seconds = medium.tensor.shape[1] / per_second(medium.modality)
        own = self.modality.shape()[1] / self._own_pace
        return None if abs(seconds - own) * self._pace < _SHORT else Extent(duration=seconds)

    def together(self, modality: Modality, value: object) -> Modality:
        """A modality whose files also hold a condition, a file or a medium, where the two go into one."""
        if {modality.axes, self.source.axes} != {(TIME,), (TIME, HEIGHT, WIDTH)}:
            return modality
        found = self.opened(value)
        return modality if found is None else modality.together(found.source)

    def vector(self, conditions: Sequence[Media | None], device: torch.device) -> Tensor:
        """[B, pooled]: 1 and the features, averaged over all places; zeros without a condition."""
        rows = torch.zeros(len(conditions), self.pooled, device=device)
        for places, media, _ in self._groups(conditions, None, device):
            means = [f.flatten(2).mean(2) if f.ndim > 2 else f for f in (e(media) for e in self._all())]
            rows = _put(rows, places, torch.cat([media.new_ones(len(media), 1), *means], 1))
        return rows

    def along(
        self,
        conditions: Sequence[Media | None],
        media: tuple[int, ...],
        size: Sequence[int],
        device: torch.device,
    ) -> Tensor:
        """[B, width, *size]: the features in the places of media [C, *D]; zeros without a condition, or beyond it."""
        rows = torch.zeros(len(conditions), self.width, *size, device=device)
        fold = self.pixels if HEIGHT in self._axes else 1
        fine = tuple(n * fold if axis != TIME else n for axis, n in zip(self._axes, size, strict=True))
        for places, shown, seconds in self._groups(conditions, media, device):
            reach = 1.0 if not seconds else seconds / (media[1] / self._own_pace)
            parts = [
                align(
                    shown.new_ones(len(shown), 1, *_one(shown)), self._span(), size, self._axes, reach=reach
                )
            ]
            for extractor in self._all():
                found, axes = extractor(shown), extractor.axes
                drawn = HEIGHT in axes
                placed = align(found, axes, fine if drawn else size, self._axes, reach=reach)
                parts.append(
                    fold_pixels(placed, self._axes, fold)
                    if drawn
                    else placed.repeat_interleave(fold**2, dim=1)
                )
            rows = _put(rows, places, torch.cat(parts, 1))
        return rows

    def _span(self) -> tuple[str, ...]:
        """The axes of what says that there is a condition: it lasts as long as that does."""
        return (TIME,) if TIME in self.source.axes else ()

    def _groups(
        self, conditions: Sequence[Media | None], media: tuple[int, ...] | None, device: torch.device
    ) -> list[tuple[list[int], Tensor, float]]:
        """Places, media [n, C, *D] and seconds of the conditions of each shape."""
        found: dict[tuple[int, ...], tuple[list[int], list[Tensor]]] = {}
        for place, condition in enumerate(conditions):
            if condition is not None:
                tensor = self._fitted(condition, media)
                places, tensors = found.setdefault(tuple(tensor.shape), ([], []))
                places.append(place)
                tensors.append(tensor)
        timed = TIME in self.source.axes and TIME in self._axes
        return [
            (places, torch.stack(tensors).to(device), tensors[0].shape[1] / self._pace if timed else 0.0)
            for places, tensors in found.values()
        ]

    def _fitted(self, condition: Media, media: tuple[int, ...] | None) -> Tensor:
        """[C, *D] at the source's channels and rate; pictures at the size of what is made, or at the source's."""
        tensor = condition.modality.convert(condition.tensor, self.source)
        if HEIGHT not in self.source.axes:
            return tensor.float()
        drawn = media is not None and HEIGHT in self._axes
        sides = media[-2:] if drawn and media is not None else self.source.shape()[-2:]
        shape = (self.source.shape()[0], *tensor.shape[1:-2], *sides)
        return (tensor if tuple(tensor.shape) == shape else self.source.fit(tensor, shape)).float()


def _read(source: Modality, path: Path, drawn: bool) -> Tensor:
    """The medium of a file; of long videos whose pictures need no more than the source's size, piece by piece."""
    info = source.info(path)
    if drawn or not {TIME, HEIGHT} <= set(source.axes) or info.duration <= _PIECE:
        return source.read(path)
    pieces, channels, sides = list[Tensor](), source.shape()[0], source.shape()[-2:]
    pace = per_second(source)
    step = max(1, round(_PIECE * pace)) / pace
    for k in range(math.ceil(info.duration / step - 0.5 / pace)):
        piece = source.read(path, start=k * step, duration=step)
        pieces.append(source.fit(piece, (channels, piece.shape[1], *sides)))
    return torch.cat(pieces, 1)


def _part(value: Mapping[str, Any], where: str) -> Part:
    """A part within a part. RecipeError where it has no name."""
    rest = dict(value)
    name = rest.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError(f"conditioner.{where}: {dict(value)!r} is not allowed; give {{name: ..., ...}}")
    return Part(name, rest)


def _one(media: Tensor) -> tuple[int, ...]:
    """The length in time of media that have one."""
    return (media.shape[2],) if media.ndim in (3, 5) else ()


def _put(rows: Tensor, places: list[int], values: Tensor) -> Tensor:
    """The rows with others in some places. All at once where it can be, so that gradients are cheap."""
    if len(places) == len(rows):
        return values
    return rows.index_copy(0, torch.tensor(places, device=rows.device), values.to(rows.dtype))
