"""Shards that `multigen pack` wrote: media read by random access from a few large files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from multigen.datasets import held_out as held_out_by_id
from multigen.datasets import index as shard_index
from multigen.datasets.augment import Augment
from multigen.datasets.media_files import Files, Told, checked_share
from multigen.datasets.scan import find_folder
from multigen.errors import RecipeError, message
from multigen.modalities import Member, Modality
from multigen.registry import Given


class Shards(Files):
    """The media below `path`, a folder that `multigen pack` wrote, with the packed captions and labels.

    path      the folder, relative to the working directory; `~` is the home folder
    segment, held_out, memory, flip ... gain  as in `folder`. A packed built-in set keeps its own split, which
              `held_out` does not change

    Two dozen bytes per medium stay in memory; the rest is read on request, through files opened only for that, so that
    worker processes share nothing. `bad` names media beyond the end of a truncated shard. RecipeError if the index or
    a shard is missing or damaged; `draw` raises MediaError for a damaged medium.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
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
        turn: bool = False,
    ) -> None:
        augment = Augment(flip, crop, hue, brightness, contrast, time_stretch, pitch, gain, turn)
        super().__init__(modality, augment, segment=segment, memory=memory)
        self._share = checked_share(held_out)
        example = f"multigen run {modality.name}_folder data.name=shards data.path=./my_shards"
        self._root = find_folder(path, example)
        index = shard_index.read(self._root)
        if index.modality != modality.name:
            raise RecipeError(
                message("data.path", str(path), hint=f"It holds {index.modality}, not {modality.name}.")
            )
        self.classes, self._shards = index.classes, index.shards
        self.bad = self._list()

    def _list(self) -> dict[str, str]:
        """Find the index line and the duration of every medium. Returns those beyond the end of a truncated shard."""
        bad: dict[str, str] = {}
        places: list[tuple[int, int, int]] = []  # shard, offset and length of the line
        durations: list[float] = []
        for number, shard in enumerate(self._shards):
            tar = self._root / shard.file
            if not tar.is_file():
                raise RecipeError(
                    f"{tar}: missing; it held {shard.samples} of the media. Pack the media again."
                )
            size, at = tar.stat().st_size, 0
            for k, line in enumerate(self._lines(self._root / shard.index)):
                sample = shard_index.parse(line, f"{self._root / shard.index}, line {k + 1}")
                self._check(sample, f"{self._root / shard.index}, line {k + 1}")
                if sample.medium.offset + sample.medium.size > size:
                    name = str(_member(tar, sample))
                    bad[name] = f"{name}: the shard is truncated before its end"
                else:
                    places.append((number, at, len(line)))
                    durations.append(sample.seconds)
                at += len(line)
        if not places:
            raise RecipeError(f"data.path: no media are left in the shards of {self._root}")
        self._lines_at = np.asarray(places, np.int64)
        self._divide(durations)
        return bad

    def _lines(self, path: Path) -> list[bytes]:
        try:
            return path.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise RecipeError(f"{path}: cannot be read ({error.strerror}). Pack the media again.") from None

    def _check(self, sample: shard_index.Sample, where: str) -> None:
        if sample.suffix not in self.modality.suffixes:
            raise RecipeError(message(where, sample.suffix, self.modality.suffixes))
        if sample.label is not None and sample.label >= len(self.classes):
            raise RecipeError(f"{where}: label {sample.label}, but there are {len(self.classes)} classes")

    def _sample(self, file: int) -> tuple[Path, shard_index.Sample]:
        """The shard and the index line of a medium."""
        number, at, length = map(int, self._lines_at[file])
        shard = self._shards[number]
        path = self._root / shard.index
        with path.open("rb") as lines:
            lines.seek(at)
            return self._root / shard.file, shard_index.parse(lines.read(length), str(path))

    def source(self, file: int) -> Member:
        """The place of a medium in its shard."""
        return _member(*self._sample(file))

    def told(self, file: int) -> Told:
        """Name, captions and label of a medium."""
        _, sample = self._sample(file)
        return Told(sample.name, sample.texts, sample.label)

    def captioned(self) -> int:
        """How many media have a caption. Reads every index line."""
        return sum(any(self._sample(file)[1].texts) for file in range(self._segments.files))

    def summary(self) -> str:
        """Media, captions and what was skipped."""
        skipped = f", {len(self.bad)} skipped" if self.bad else ""
        return f"{self._segments.files} media in shards, {self.captioned()} with captions{skipped}"

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices: the split of the packed built-in set, or by a hash of the names."""
        samples = [self._sample(file)[1] for file in range(self._segments.files)]
        if any(s.held_out is not None for s in samples):
            return self._split({k for k, s in enumerate(samples) if s.held_out})
        return self._split(set(held_out_by_id([s.name for s in samples], self._share)[1]))


def _member(tar: Path, sample: shard_index.Sample) -> Member:
    span = sample.medium
    name = sample.name if sample.name.lower().endswith(sample.suffix) else sample.name + sample.suffix
    return Member(tar, name, span.offset, span.size, span.crc32)
