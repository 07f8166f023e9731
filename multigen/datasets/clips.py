"""The user's own clips with sound: pairs of what is seen and what is heard in the same seconds of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Dataset, Item, decoding
from multigen.datasets.augment import uniform
from multigen.datasets.captions import Captions
from multigen.datasets.folder import Folder
from multigen.datasets.segments import Segments
from multigen.errors import MediaError, RecipeError
from multigen.modalities import TIME, Modality, Source
from multigen.modalities.guard import Guard
from multigen.modalities.media import Media
from multigen.modalities.pace import per_second
from multigen.registry import Given, Part


class Clips(Dataset):
    """Every clip with sound below `path`, cut into items; the medium is one of the two, `condition` the other.

    The modality says which of them is made: `audio` the sound of each clip, `video` its pictures. Both are read from
    the same seconds.

    path       the folder, relative to the working directory
    condition  the modality of the other, {name: video, size: 32, fps: 8}; it is that of the conditioner's `source`
    captions   as of the dataset `folder`
    segment    s of a longer clip that count as one item; null: the modality's duration
    held_out   share of the clips that is kept from training

    `bad` names each file that is left out, such as one without sound. RecipeError if none is left. `draw` raises
    MediaError for a file that is damaged beyond its header.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        condition: dict[str, Any] | None = None,
        captions: Captions = "auto",
        segment: float | None = None,
        held_out: float = 0.1,
    ) -> None:
        pace = per_second(modality)
        if TIME not in modality.axes or not pace:
            raise RecipeError(f"data.name: clips is not for {modality.name}. Allowed: audio, video.")
        self.modality, self.other, self._guard = modality, _other(condition, modality), Guard()
        self._folder = Folder(
            modality=modality, path=path, captions=captions, labels="none", segment=segment, held_out=held_out
        )
        self._shape = modality.shape()
        self._seconds = self._shape[1] / pace
        self._shown = self.other.shape(duration=self._seconds)
        self._segments = Segments(self._folder.durations(), self._seconds, segment or self._seconds)
        silent = self._without_other()
        self._items = [k for k in range(len(self._folder)) if self._segments.place(k)[0] not in silent]
        self.bad: Mapping[str, str] = {**self._folder.bad, **dict(silent.values())}
        if not self._items:
            raise RecipeError(
                f"data.path: none of the {len(self._segments.durations)} clips holds both a video and a sound. "
                f"The first: {next(iter(self.bad.values()), '')}"
            )

    def _without_other(self) -> dict[int, tuple[str, str]]:
        """The files in which there is nothing of the other modality: name and reason of each."""
        found = {}
        for file in range(self._segments.files):
            source = self._folder.source(file)
            try:
                self._guard(source, self.other.info, source)
            except MediaError as error:
                found[file] = (str(source), str(error))
        return found

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        number = self._items[index]
        file, k = self._segments.place(number)
        start, _ = self._segments.span(file, k, self._seconds)
        return self._item(number, start, self._folder.told(file).texts[0])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Both from anywhere within the segment, with a caption drawn from `rng`."""
        number = self._items[index]
        file, k = self._segments.place(number)
        start = uniform(*self._segments.span(file, k, self._seconds), rng)
        return self._item(number, start, self._folder.caption(number, rng))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices; all segments of a clip stay on one side."""
        place = {number: k for k, number in enumerate(self._items)}
        train, held = self._folder.split()
        return [place[k] for k in train if k in place], [place[k] for k in held if k in place]

    def captioned(self) -> int | None:
        """How many clips have a caption."""
        return self._folder.captioned()

    def summary(self) -> str:
        """Items, and what the folder holds."""
        return f"{len(self)} pairs of picture and sound from {self._folder.summary()}"

    def _item(self, number: int, start: float, text: str) -> Item:
        source = self._folder.source(self._segments.place(number)[0])
        media = self._read(self.modality, source, start, self._shape)
        condition = Media(self._read(self.other, source, start, self._shown), self.other)
        return Item(media=media, id=self._folder.name(number), text=text, condition=condition)

    def _read(self, modality: Modality, source: Source, start: float, shape: tuple[int, ...]) -> Tensor:
        return self._guard(source, decoding.clip, modality, source, start, self._seconds, shape)


def _other(condition: Mapping[str, Any] | None, modality: Modality) -> Modality:
    """The modality of what goes with the media."""
    usual = {"name": "video"} if modality.name == "audio" else {"name": "audio", "rate": 16000}
    rest = dict(usual if condition is None else condition)
    other: Modality = registry.build(
        "modality", Part(str(rest.pop("name", "")), rest), where="data.condition"
    )
    if TIME not in other.axes or other.axes == modality.axes:
        raise RecipeError(
            f"data.condition: {other.name} is not allowed for {modality.name}. Allowed: "
            f"{'video' if modality.name == 'audio' else 'audio'}."
        )
    return other
