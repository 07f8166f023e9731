"""The user's own files: a folder of pictures, sounds or videos, with captions and labels if there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from multigen.datasets import held_out as held_out_by_id
from multigen.datasets.augment import Augment
from multigen.datasets.captions import Captions, captions_of
from multigen.datasets.decoding import check_turned
from multigen.datasets.headers import headers
from multigen.datasets.labels import Labels, labels_of
from multigen.datasets.media_files import Files, Told, checked_share
from multigen.datasets.metadata import Metadata, read_metadata
from multigen.datasets.scan import find_folder, refuse_empty, summary, walk
from multigen.errors import MediaError, RecipeError
from multigen.modalities import Info, Modality
from multigen.registry import Given


class Folder(Files):
    """Every readable file of the modality below `path`, sorted by name, but hidden ones and multigen's own results.

    path      the folder, relative to the working directory; `~` is the home folder
    labels    "auto": the labels of the metadata, else the sub-folders if there are several and every file lies in
              one; "folders": the top sub-folders; "none"
    captions  "auto": metadata.jsonl, .csv or .parquet (`file_name`, `text`), else a.txt, a.jpg.txt or a.caption beside
              a.jpg (each line an alternative caption), else the class, else ""; or "metadata", "txt", "name" (the
              file's name), "none"
    segment   seconds of a longer sound or video that count as one item; null: the modality's duration. `draw` starts
              anywhere within its segment
    held_out  share of the files (not of the segments) that is kept from training
    memory    GiB for decoded pictures, kept at about the size of training
    flip, crop, hue, brightness, contrast, turn  augmentation of pictures and video, see `Augment`
    time_stretch, pitch, gain                    augmentation of sound, see `Augment`

    `bad` names each file that is left out and the reason. RecipeError if no file is left. `draw` raises MediaError for
    a file that is damaged beyond its header.
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
        turn: bool = False,
    ) -> None:
        augment = Augment(flip, crop, hue, brightness, contrast, time_stretch, pitch, gain, turn)
        super().__init__(modality, augment, segment=segment, memory=memory)
        self._share = checked_share(held_out)
        example = f"multigen run {modality.name}_folder data.path=./my_files"
        self._scan(find_folder(path, example), labels, captions)

    def _scan(self, root: Path, labels: Labels, captions: Captions) -> None:
        """List the files, read headers, captions and labels, and divide the files into items."""
        found = walk(root, self.modality.suffixes)
        refuse_empty(found, self.modality)
        wanted = captions in ("auto", "metadata") or labels == "auto"
        metadata = read_metadata(found) if wanted else Metadata()
        # Labels come from all files, so that an unreadable file does not renumber the classes.
        self.classes, self._labels = labels_of(found, metadata, labels)
        named = {p: self.classes[i] for p, i in self._labels.items()}
        self._texts = captions_of(found, metadata, captions, named)
        infos, bad = headers(found, self.modality, self._guard)
        bad |= self._unturned(infos)
        infos = {path: info for path, info in infos.items() if str(path) not in bad}
        self.bad = {**found.closed, **metadata.missing, **bad}
        self._found = found
        if not infos:
            raise RecipeError(
                f"data.path: none of the {len(found.media)} {self.modality.name} files in {root} can be read. "
                f"The first: {next(iter(self.bad.values()))}"
            )
        self._files = list(infos)
        self._names = [found.name(p) for p in self._files]
        self._divide([info.duration for info in infos.values()])

    def _unturned(self, infos: Mapping[Path, Info]) -> dict[str, str]:
        """Pictures that are no panoramas, where those are turned (path -> reason). Clips are looked at when read."""
        bad: dict[str, str] = {}
        for path, info in infos.items() if not self._rate and len(self._shape) == 3 else ():
            try:
                check_turned(self._augment, path, (info.height, info.width), self._shape)
            except MediaError as error:
                bad[str(path)] = str(error)
        return bad

    def source(self, file: int) -> Path:
        """The path of a file."""
        return self._files[file]

    def told(self, file: int) -> Told:
        """Name relative to the root, captions and label of a file."""
        path = self._files[file]
        return Told(self._names[file], self._texts[path], self._labels.get(path))

    def captioned(self) -> int:
        """How many files have a caption."""
        return sum(any(self._texts[path]) for path in self._files)

    def summary(self) -> str:
        """Files, captions, what was skipped, and what else lies there."""
        return summary(self._found, self.modality.name, len(self._files), self.captioned(), self.bad)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices. All segments of a file stay on one side, and files never change sides."""
        return self._split(set(held_out_by_id(self._names, self._share)[1]))
