"""Volumes: scans in three dimensions, as [1, D, H, W] in [-1, 1]; NIfTI and DICOM, in the file's own values."""

from __future__ import annotations

import copy
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import Info, Limits, Modality
from multigen.modalities.contact_sheet import GAP, contact_sheet, data_url
from multigen.modalities.heat import along_time, laid_over
from multigen.modalities.member import Source, as_source
from multigen.modalities.raster import height_width, resize_to_cover, to_levels
from multigen.modalities.volume_dicom import dicom_info, read_dicom
from multigen.modalities.volume_dicom_writing import dicom_bytes
from multigen.modalities.volume_file import Place, Scan, nifti_bytes, nifti_info, read_nifti
from multigen.storage.files import atomic

log = logging.getLogger(__name__)
_SLICES = 8  # of each volume in a preview


class Volume(Modality):
    """The modality of volumes. Columns go to the patient's left, rows to the back, slices to the head.

    size       natural size of a slice: a side, or (height, width), in voxels
    depth      natural number of slices
    window     the values of files that are -1 and 1, after the file's own scale: such as [-1000, 1000] of computed
               tomography; what lies outside is clipped in what a model sees
    spacing    mm between columns, rows and slices of what is made from nothing
    max_bytes  most bytes of a file
    max_voxels most values of a volume that is read

    A duration is a number of slices, `f` in the spans of edits. Raises ValueError for values out of range.
    """

    name = "volume"
    suffixes = (".nii", ".gz", ".dcm")
    writes = (".nii", ".gz", ".dcm")
    suffix = ".nii"
    animation = ""

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 32,
        depth: int = 32,
        window: tuple[float, float] = (-1000.0, 1000.0),
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        max_bytes: int = Limits.max_bytes,
        max_voxels: int = Limits.max_clip_pixels,
    ) -> None:
        if depth < 1:
            raise ValueError(f"depth: {depth} is not allowed. Allowed: 1 or more slices.")
        if not (window[0] < window[1] and np.isfinite(window).all()):
            raise ValueError(f"window: {window!r} is not allowed. Allowed: two rising values.")
        if min(spacing) <= 0:
            raise ValueError(f"spacing: {spacing!r} is not allowed. Allowed: three distances over 0 mm.")
        self.size, self.depth, self.window = height_width(size), depth, window
        self.limits = Limits(max_bytes=max_bytes, max_clip_pixels=max_voxels)
        self._place = Place(np.diag([*spacing, 1.0]))
        self._of: tuple[int, ...] | None = (
            None  # shape [D, H, W] of the file that this is the native modality of
        )

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, int, int, int]:
        """Return (1, D, H, W); `duration` is a number of slices."""
        depth = self.depth if duration is None else round(duration)
        if depth < 1:
            raise ValueError(f"duration: {duration!r} is not allowed. Allowed: 1 or more slices.")
        return (1, depth, *(self.size if size is None else height_width(size)))

    def info(self, path: str | Source) -> Info:
        """Read the number of slices, width and height from the header, in the file's own axes."""
        path = as_source(path)
        return dicom_info(path, self.limits) if _is_dicom(path) else nifti_info(path, self.limits)

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read [1, D, H, W] in the patient's axes. `start` and `duration` choose slices. MediaError names the fault."""
        scan = self._scan(as_source(path))
        end = None if duration is None else round(start) + round(duration)
        values = torch.from_numpy(scan.values[round(start) : end])[None]
        media = _media(values, self.window)
        return media if self._of is not None else media.clamp(-1, 1).float()

    def _scan(self, path: Source) -> Scan:
        return read_dicom(path, self.limits) if _is_dicom(path) else read_nifti(path, self.limits)

    def native(self, source: str | Source | Tensor) -> Volume:
        """The file's own values, spacing and orientation; of a medium [1, D, H, W] these."""
        made = copy.copy(self)
        if isinstance(source, Tensor):
            return made
        scan = self._scan(as_source(source))
        depth, height, width = made._of = scan.values.shape
        made.depth, made.size, made._place = depth, (height, width), scan.place
        made.window = scan.place.ends
        return made

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """[1, D, H, W] of this modality's window as that of `to`; clipped to it where `to` is no file's own."""
        assert isinstance(to, Volume)
        if self.window != to.window:
            low, high = self.window
            media = _media(low + (media.double() + 1) / 2 * (high - low), to.window)
        return media if to._of is not None else media.clamp(-1, 1)

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Resize and crop slices to `shape`, antialiased; of the slices the middle ones, or some at random with `rng`.

        Where there are too few, the first and the last go on.
        """
        _, count, height, width = shape
        free = media.shape[1] - count
        first = int(torch.randint(free + 1, (), generator=rng)) if rng is not None and free > 0 else free // 2
        places = (torch.arange(count) + first).clamp(0, media.shape[1] - 1)
        return (
            resize_to_cover(media[:, places].transpose(0, 1), height, width, rng).transpose(0, 1).contiguous()
        )

    def write(self, media: Tensor, path: str | Path) -> None:
        """Write [1, D, H, W] as NIfTI (.nii, .nii.gz) or as one DICOM file of all slices (.dcm), atomically.

        The native modality of a file writes its kind of numbers, its axes, spacing and place in space. Nothing else of
        the file is written: no name, date or text. MediaError for another suffix, and for floats in DICOM.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in self.writes or (suffix == ".gz" and not path.name.lower().endswith(".nii.gz")):
            raise MediaError(message(f"{path}: the suffix", path.suffix, (".nii", ".nii.gz", ".dcm")))
        if not torch.isfinite(media).all():
            raise MediaError(f"{path}: some values are not finite (NaN or infinity)")
        low, high = self.window
        values = (low + (media.detach().cpu().double() + 1) / 2 * (high - low))[0].numpy()
        if self._of is not None and self._of[0] != len(values):
            log.warning(
                "%s: %d slices in place of %d: the first is taken for the file's first",
                path,
                len(values),
                self._of[0],
            )
        scan = Scan(values, self._place)
        content = dicom_bytes(scan) if suffix == ".dcm" else nifti_bytes(scan, packed=suffix == ".gz")
        with atomic(path) as temporary:
            temporary.write_bytes(content)

    def describe(self, shape: Sequence[int]) -> str:
        """Say slices and their size."""
        return f"{shape[1]} slices of {shape[3]} x {shape[2]} voxels"

    def facts(self, media: Tensor) -> dict[str, str]:
        """The range of the values, in those of files."""
        low, high = self.window
        ends = [low + (float(end) + 1) / 2 * (high - low) for end in torch.aminmax(media)]
        return {"values": f"{ends[0]:.5g} to {ends[1]:.5g}"}

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """Draw a row for each volume: up to 8 slices from the feet to the head, in the model's window."""
        rows = []
        for one in media:
            chosen = torch.linspace(0, one.shape[1] - 1, min(_SLICES, one.shape[1])).round().long()
            rows.append(list(to_levels(one[:, chosen].clamp(-1, 1), "preview")))
        return contact_sheet(rows)

    def heat(self, media: Tensor, levels: Tensor) -> PillowImage.Image:
        """Draw the slices of `preview` in grey, with heat [T, H, W] over them."""
        shown = along_time(levels, min(_SLICES, media.shape[1]))
        return laid_over(self.preview([media]), shown, gap=GAP)

    def html(self, media: Tensor) -> str:
        """Return an <img> of the slices."""
        file = io.BytesIO()
        self.preview([media]).save(file, format="PNG")
        return f'<img src="{data_url(file.getvalue(), "image/png")}" style="max-width:100%" alt="slices of a volume">'


def _media(values: Tensor, window: tuple[float, float]) -> Tensor:
    """Values as a medium, float64, not clipped."""
    return (values.double() - window[0]) / (window[1] - window[0]) * 2 - 1


def _is_dicom(path: Source) -> bool:
    return path.suffix.lower() == ".dcm"
