"""The user's own files: a folder of pictures, sounds or videos, with captions and labels where there are any."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen.datasets import Item
from multigen.datasets import held_out as held_out_by_id
from multigen.datasets.augment import PICTURE, SOUND, Augment, uniform
from multigen.datasets.captions import Captions, Labels, Metadata, captions_of, labels_of, read_metadata
from multigen.datasets.scan import find_folder, headers, refuse_empty, walk
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.registry import Given

# Durations in s at which a modality is asked how long its media are; the longest that it takes is the most exact.
_PROBES = (1000.0, 100.0, 10.0, 1.0)
# A file may be this share of a segment too short for its last one: headers round.
_TOLERANCE = 0.01


class Folder:
    """Every readable file of the modality below `path`, sorted by name, hidden files left out.

    path: the folder, relative to the current one; `~` is the home folder
    labels: "auto": the labels of metadata.jsonl, else the sub-folders if there are several and every file lies in
        one; "folders": the top sub-folders; "none"
    captions: "auto": metadata.jsonl (`file_name`, `text`), else a .txt of the same name (each line is an alternative
        caption), else the class, else ""; or one of "metadata", "txt", "name" (the file's name) and "none"
    segment: s of a longer sound or video that count as one item; null: the modality's duration. `draw` starts
        anywhere within its segment
    held_out: share of the files (not segments) that is kept from training
    memory: GiB of decoded pictures kept, at about the size that is trained on
    flip, crop, hue, brightness, contrast (pictures and video); time_stretch, pitch, gain (sound): see `Augment`

    `bad` names each file left out and why. RecipeError if no file is left; draw raises MediaError for a file that
    turns out to be damaged behind its header.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        labels: Labels = "auto",
        captions: Captions = "auto",
        segment: float | None = None,
        held_out: float = 0.1,
        memory: float = 1.0,
        flip: bool = False,
        crop: float = 1.0,
        hue: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        time_stretch: float = 0.0,
        pitch: float = 0.0,
        gain: float = 0.0,
    ) -> None:
        self.modality, self._shape = modality, modality.shape()
        self._rate = _per_second(modality)  # samples or frames a second; 0 for media without time
        self._augment = Augment(flip, crop, hue, brightness, contrast, time_stretch, pitch, gain)
        channels, axes = self._shape[0], len(self._shape) - 1
        self._augment.check(PICTURE if axes > 1 else SOUND if self._rate else (), channels, modality.name)
        self._segment = self._checked_segment(segment)
        if not 0 <= held_out < 1:
            raise ValueError(f"held_out: {held_out} is not allowed. Allowed: 0 to below 1.")
        if memory < 0:
            raise ValueError(f"memory: {memory} is not allowed. Allowed: 0 GiB or more.")
        self._share, self._room = held_out, memory * 2**30
        self._pictures: dict[Path, Tensor] = {}
        example = f"multigen run recipes/{modality.name}_folder.yaml data.path=./my_files"
        self._scan(find_folder(path, example), labels, captions)

    def _scan(self, root: Path, labels: Labels, captions: Captions) -> None:
        """List the files, read their headers, captions and labels, and cut them into items."""
        found = walk(root, self.modality.suffixes)
        refuse_empty(found, self.modality)
        wanted = captions in ("auto", "metadata") or labels == "auto"
        metadata = read_metadata(found) if wanted else Metadata()
        # Labels come from all files, so that a file that goes bad does not renumber the classes.
        self.classes, self._labels = labels_of(found, metadata, labels)
        named = {p: self.classes[i] for p, i in self._labels.items()}
        self._texts = captions_of(found, metadata, captions, named)
        infos, bad = headers(found, self.modality)
        self.bad = {**found.closed, **metadata.missing, **bad}
        if not infos:
            raise RecipeError(
                f"data.path: none of the {len(found.media)} {self.modality.name} files in {root} can be read. "
                f"The first: {next(iter(self.bad.values()))}"
            )
        self._files = list(infos)
        self._names = [found.name(p) for p in self._files]
        self._durations = [info.duration for info in infos.values()]
        self._items = [(f, k) for f, d in enumerate(self._durations) for k in range(self._segments(d))]

    # --- segments ---------------------------------------------------------------------------------------------

    @property
    def _seconds(self) -> float:
        """Natural duration in s; 0 for media without time."""
        return self._shape[1] / self._rate if self._rate else 0.0

    def _checked_segment(self, segment: float | None) -> float:
        if segment is None:
            return self._seconds
        if not self._rate:
            raise ValueError(
                f"segment: {segment} does not apply to {self.modality.name}, which has no duration."
            )
        if not (segment > 0 and math.isfinite(segment)):
            raise ValueError(f"segment: {segment} is not allowed. Allowed: above 0 s.")
        return segment

    def _segments(self, duration: float) -> int:
        if not self._rate or duration <= self._seconds:
            return 1
        return 1 + math.floor((duration - self._seconds) / self._segment + _TOLERANCE)

    def _span(self, file: int, k: int, seconds: float) -> tuple[float, float]:
        """The earliest and latest start in s of a span of `seconds` for segment k; the last one takes the rest."""
        last = max(0.0, self._durations[file] - seconds)
        first = min(k * self._segment, last)
        ends = k + 1 >= self._segments(self._durations[file])
        return first, last if ends else min((k + 1) * self._segment, last)

    # --- items ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        file, k = self._items[index]
        if self._rate:
            start, _ = self._span(file, k, self._seconds)
            media = self.modality.read(self._files[file], start=start, duration=self._seconds)
        else:
            media = self._picture(self._files[file])
        media = self.modality.fit(media, self._shape)
        return self._item(file, k, media, self._texts[self._files[file]][0])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Item with start, crop, augmentation and caption drawn from `rng`. MediaError if its file went bad."""
        file, k = self._items[index]
        path, augment = self._files[file], self._augment
        if self._rate:
            speed = augment.draw_speed(rng)
            start = uniform(*self._span(file, k, self._seconds * speed), rng)
            media = self.modality.read(path, start=start, duration=self._seconds * speed)
            if len(self._shape) == 2:
                media = augment.voiced(media, speed, self._rate, rng)
        else:
            media = self._picture(path)
        if len(self._shape) > 2:
            media = augment.cropped(media, rng)
            media = augment.coloured(self.modality.fit(media, self._shape, rng), rng)
        else:
            media = self.modality.fit(media, self._shape, rng)
        texts = self._texts[path]
        return self._item(file, k, media, texts[int(torch.randint(len(texts), (), generator=rng))])

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices; all segments of a file stay on one side, whatever files are added."""
        _, out = held_out_by_id(self._names, self._share)
        held = set(out)
        train = [i for i, (file, _) in enumerate(self._items) if file not in held]
        return train, [i for i, (file, _) in enumerate(self._items) if file in held]

    def _item(self, file: int, k: int, media: Tensor, text: str) -> Item:
        name = self._names[file]
        if self._segments(self._durations[file]) > 1:
            name = f"{name}@{k * self._segment:g}s"
        item = Item(media=media, id=name, text=text)
        if self.classes:
            item["label"] = self._labels[self._files[file]]
        return item

    def _picture(self, path: Path) -> Tensor:
        """[C, *D], large pictures reduced to what training needs.

        They are kept in memory (8 bits a value) until it is full: decoding a photograph takes far longer than
        training on it. What comes back is the same whether it was kept or not.
        """
        kept = self._pictures.get(path)
        if kept is None:
            media = self.modality.read(path)
            if len(self._shape) != 3:
                return media
            kept = _levels(self._reduced(media))
            if self._room >= kept.nbytes:
                self._room -= kept.nbytes
                self._pictures[path] = kept
        return kept.float() / 127.5 - 1

    def _reduced(self, media: Tensor) -> Tensor:
        """[C, H, W], no larger than a crop of the least share needs to be enlarged no more than the whole."""
        (_, height, width), (channels, h, w) = self._shape, media.shape
        scale = max(height / h, width / w) / math.sqrt(self._augment.crop)
        if scale >= 1:
            return media
        return self.modality.fit(media, (channels, max(1, round(h * scale)), max(1, round(w * scale))))


def _levels(media: Tensor) -> Tensor:
    """[-1, 1] -> uint8, as picture files mostly have it."""
    return ((media + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _per_second(modality: Modality) -> float:
    """Samples or frames a second along the time axis; 0 where the modality takes no duration."""
    for seconds in _PROBES:
        try:
            return modality.shape(duration=seconds)[1] / seconds
        except ValueError:
            continue
    return 0.0
