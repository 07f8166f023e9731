"""Volumes in files: what a file says of its values and of its place in space, and NIfTI in and out.

A scan is held as values [D, H, W] in the patient's axes of DICOM, "LPS": columns go to the patient's left, rows to the
back, slices to the head. How the file had them is kept, and given back when it is written. Nothing else of a file is
kept: no name, no date, no description.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from multigen.errors import MediaError
from multigen.modalities import Info, Limits
from multigen.modalities.member import Source, size_of
from multigen.storage.packages import check_installed

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # from NIfTI's axes, right and front, to DICOM's, left and back
_MILLIMETRES = {"micron": 1e-3, "meter": 1e3}  # of a NIfTI's unit of space; a file that names none means mm


@dataclass(frozen=True, eq=False)
class Place:
    """Where a scan lies, and how its file stores it.

    affine       from (column, row, slice) of the values to mm in LPS, [4, 4]
    orientation  from the file's axes to those of the values, as `nibabel.orientations` has it, [3, 2]
    kind         of the stored numbers
    slope, shift a value is slope * stored number + shift
    """

    affine: np.ndarray
    orientation: np.ndarray = field(default_factory=lambda: np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]))
    kind: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.int16))
    slope: float = 1.0
    shift: float = 0.0

    @property
    def spacing(self) -> tuple[float, ...]:
        """mm between columns, rows and slices."""
        return tuple(float(v) for v in np.sqrt((self.affine[:3, :3] ** 2).sum(0)))

    @property
    def ends(self) -> tuple[float, float]:
        """The values of the smallest and the largest stored number, in rising order; of floats an arbitrary range."""
        if self.kind.kind == "f":
            return -32768.0, 32767.0
        info = np.iinfo(self.kind)
        low, high = (float(end) * self.slope + self.shift for end in (info.min, info.max))
        return min(low, high), max(low, high)

    def stored(self, values: np.ndarray) -> np.ndarray:
        """Values as numbers of the file, of the same shape; what is beyond them is clipped."""
        numbers = (values.astype(np.float64) - self.shift) / self.slope
        if self.kind.kind == "f":
            return numbers.astype(self.kind)
        info = np.iinfo(self.kind)
        return np.rint(numbers).clip(info.min, info.max).astype(self.kind)


@dataclass(frozen=True, eq=False)
class Scan:
    """Values [D, H, W], float64, and their place."""

    values: np.ndarray
    place: Place


def orient(numbers: np.ndarray, affine: np.ndarray, slope: float, shift: float) -> Scan:
    """A scan of stored numbers [columns, rows, slices] in a file's own axes, with their affine to mm in LPS."""
    from nibabel import orientations

    # The largest part of each axis decides: oblique scans are turned by less than half a quarter.
    own = orientations.io_orientation(_LPS @ affine)
    wanted = orientations.axcodes2ornt(("L", "P", "S"))
    change = orientations.ornt_transform(own, wanted)
    turned = orientations.apply_orientation(numbers, change)
    moved = affine @ orientations.inv_ornt_aff(change, numbers.shape)
    values = turned.transpose(2, 1, 0).astype(np.float64) * slope + shift
    return Scan(values, Place(moved, change, numbers.dtype.newbyteorder("="), slope, shift))


def in_file(scan: Scan) -> tuple[np.ndarray, np.ndarray]:
    """The stored numbers [columns, rows, slices] of a scan in its file's axes, and their affine to mm in LPS."""
    from nibabel import orientations

    place = scan.place
    numbers = place.stored(scan.values).transpose(2, 1, 0)
    axes = [int(v) for v in place.orientation[:, 0]]
    back = np.zeros((3, 2))
    for axis, (to, flip) in enumerate(place.orientation):
        back[int(to)] = axis, flip
    turned = orientations.apply_orientation(numbers, back)
    shape = tuple(numbers.shape[to] for to in axes)
    return turned, place.affine @ np.linalg.inv(orientations.inv_ornt_aff(place.orientation, shape))


def nifti_info(path: Source, limits: Limits) -> Info:
    """The header of a NIfTI file. MediaError for one that cannot be read, or is no grey volume."""
    return _nifti(path, limits)[1]


def read_nifti(path: Source, limits: Limits) -> Scan:
    """A NIfTI file. MediaError names the fault."""
    image, _ = _nifti(path, limits)
    try:
        numbers = np.asanyarray(image.dataobj.get_unscaled())
    except Exception as error:  # damaged in one of many ways: gzip's, zlib's, numpy's
        raise MediaError(f"{path}: damaged or truncated ({error})") from error
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise MediaError(f"{path}: some values are not finite (NaN or infinity)")
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize > 4:  # such as labels: held as float64
        if numbers.min() < -(2**31) or numbers.max() >= 2**31:
            raise MediaError(
                f"{path}: some values of {numbers.dtype} are beyond 32 bits, which is not allowed"
            )
        numbers = numbers.astype(np.int32)
    slope, shift = float(image.dataobj.slope), float(image.dataobj.inter)
    check_affine(path, image.affine)
    unit = _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    affine = np.diag([unit, unit, unit, 1.0]) @ image.affine
    return orient(numbers.reshape(numbers.shape[:3]), _LPS @ affine, slope, shift)


def _nifti(path: Source, limits: Limits) -> tuple[Any, Info]:
    check_installed("nibabel", "reading NIfTI files", "medical")
    from nibabel.loadsave import load
    from nibabel.nifti1 import Nifti1Pair

    if not isinstance(path, Path):
        raise MediaError(f"{path}: volumes are read from files, not from shards")
    check_bytes(path, limits)
    try:
        image = load(path)
    except Exception as error:  # nibabel raises its own, gzip's and numpy's
        raise MediaError(f"{path}: no NIfTI file that can be read ({error})") from error
    if not isinstance(image, Nifti1Pair):
        raise MediaError(
            f"{path}: a file of the kind {type(image).__name__}; allowed is NIfTI (.nii, .nii.gz)"
        )
    shape = image.shape
    if len(shape) < 3 or any(n != 1 for n in shape[3:]) or np.dtype(image.get_data_dtype()).kind not in "iuf":
        raise MediaError(
            f"{path}: shape {list(shape)} of {image.get_data_dtype()}; allowed is one volume of grey values"
        )
    check_voxels(path, shape[:3], limits)
    column, row, slices = (int(n) for n in shape[:3])
    return image, Info(duration=float(slices), width=column, height=row, channels=1, frames=slices)


def nifti_bytes(scan: Scan, *, packed: bool) -> bytes:
    """A NIfTI-1 file, in mm, that says nothing but values, spacing and orientation; `packed`: gzip."""
    check_installed("nibabel", "writing NIfTI files", "medical")
    import gzip

    from nibabel.nifti1 import Nifti1Image

    numbers, affine = in_file(scan)
    image = Nifti1Image(numbers, _LPS @ affine)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(scan.place.slope, scan.place.shift)
    content = image.to_bytes()
    if not packed:
        return content
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as out:  # the same bytes each time
        out.write(content)
    return file.getvalue()


def check_affine(path: Source, affine: np.ndarray) -> None:
    """MediaError for a place in space that is none: not finite, or flat."""
    axes = np.asarray(affine, float)[:3]
    if not np.isfinite(axes).all() or np.linalg.matrix_rank(axes[:, :3]) < 3:
        raise MediaError(f"{path}: its axes span no space ({np.round(axes[:, :3], 4).tolist()} mm)")


def check_voxels(path: Source, shape: tuple[int, ...], limits: Limits) -> None:
    """MediaError for a volume with too many values, or none."""
    count = int(np.prod([int(n) for n in shape]))
    if not 0 < count <= limits.max_clip_pixels:
        raise MediaError(f"{path}: {count:,} values; allowed are 1 to {limits.max_clip_pixels:,}")


def check_bytes(path: Path, limits: Limits) -> None:
    """MediaError for a file that is not there, or too large."""
    if not path.is_file():
        raise MediaError(f"{path}: no such file")
    if size_of(path) > limits.max_bytes:
        raise MediaError(f"{path}: {size_of(path):,} bytes; allowed are {limits.max_bytes:,}")
