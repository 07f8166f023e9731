"""A folder of media as a set to be measured, for example what another tool made."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from torch import Tensor

from multigen.datasets import Item
from multigen.datasets.scan import walk
from multigen.errors import MediaError, MultigenError
from multigen.modalities import Modality
from multigen.modalities.guard import Guard
from multigen.modalities.pace import per_second

_SLACK = 0.01  # relative error that is allowed in a length or frame rate, since headers round


class MediaFolder:
    """Every file of the modality in a folder and below, sorted by name, as media of one shape.

    Sizes and rates must be the modality's, since resampled media have other statistics: a file with another number of
    pixels, sampling rate or frame rate, or too short a file, is an error that names the file. With `convert` such files
    are resized, cropped, resampled or padded (`Modality.read` and `fit`), and `conversions` counts them; a result
    should say so. Longer sounds and videos are always cut to their beginning.

    MultigenError if the folder is missing or holds no such file; MediaError from an item whose file is damaged.
    """

    def __init__(self, path: Path, modality: Modality, *, convert: bool = False) -> None:
        if not path.is_dir():
            what = "is a file; give the folder that holds it" if path.exists() else "is not there"
            raise MultigenError(f"{path}: the folder of {modality.name} to measure {what}.")
        self._files = walk(path, modality.suffixes).media
        if not self._files:
            looked = " ".join(modality.suffixes)
            raise MultigenError(
                f"{path}: the folder holds no {modality.name} to measure. Looked for: {looked}."
            )
        self.modality, self._shape, self._convert = modality, modality.shape(), convert
        self._rate = per_second(modality)
        self._seconds = self._shape[1] / self._rate if self._rate else None
        self._converted: dict[Path, list[str]] = {}
        self._guard = Guard()  # the files are strangers'

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Item:
        path = self._files[index]
        media = self._guard(path, self.modality.read, path, duration=self._seconds)
        faults = self._faults(path, media)
        if faults and not self._convert:
            raise MediaError(
                f"{path}: {'; '.join(faults)}. Give media of one size and rate, or convert them with --convert; "
                "the result then says so."
            )
        if faults:
            self._converted[path] = faults
        return {"media": self.modality.fit(media, self._shape), "id": path.name}

    @property
    def conversions(self) -> tuple[str, ...]:
        """What has been converted so far: "44100 Hz, not 22050 Hz: 12 of 40 files"."""
        counts = Counter(fault for faults in self._converted.values() for fault in faults)
        return tuple(f"{fault}: {n} of {len(self)} files" for fault, n in sorted(counts.items()))

    def _faults(self, path: Path, media: Tensor) -> list[str]:
        found: list[str] = []
        if self._rate:
            info = self._guard(path, self.modality.info, path)
            have, unit = (info.rate, "Hz") if info.rate else (info.fps, "frames/s")
            if abs(have - self._rate) > (0 if info.rate else _SLACK * self._rate):
                found.append(f"{have:g} {unit}, not {self._rate:g} {unit}")
            if media.shape[1] < (1 - _SLACK) * self._shape[1]:
                found.append(f"shorter than {self._seconds:.3g} s")
        size, wanted = media.shape[-2:], self._shape[-2:]
        if len(self._shape) > 2 and size != wanted:
            found.append(f"{size[1]}x{size[0]} pixels, not {wanted[1]}x{wanted[0]}")
        return found
