"""Volumes in DICOM files: a series of slices, one file each in one folder, or one file of many frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multigen.errors import MediaError
from multigen.modalities import Info, Limits
from multigen.modalities.member import Source
from multigen.modalities.volume_file import Scan, check_affine, check_bytes, check_voxels, orient
from multigen.storage.packages import check_installed

_UNEVEN = 0.02  # of the usual gap between slices, by which one may differ
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BRIGHT, _DARK = "MONOCHROME2", "MONOCHROME1"  # how the largest number is shown


def dicom_info(path: Source, limits: Limits) -> Info:
    """The header of the series of a file. MediaError for one that cannot be read."""
    files = _series(path, limits)
    first = files[0][1]
    count = len(files) if len(files) > 1 else int(first.get("NumberOfFrames", 1) or 1)
    rows, columns = int(first.Rows), int(first.Columns)
    check_voxels(path, (rows, columns, count), limits)
    return Info(duration=float(count), width=columns, height=rows, channels=1, frames=count)


def read_dicom(path: Source, limits: Limits) -> Scan:
    """The series that a file belongs to: all of the same series in its folder. MediaError names the fault."""
    dicom_info(path, limits)
    files = _series(path, limits)
    first = files[0][1]
    slope, shift = _scale(files[0][0], first)
    for name, one in files[1:]:
        if _scale(name, one) != (slope, shift) or (one.Rows, one.Columns) != (first.Rows, first.Columns):
            raise MediaError(f"{name}: its size or its scale is not that of {files[0][0].name}")
    numbers = np.concatenate([_numbers(name, one).reshape(-1, one.Rows, one.Columns) for name, one in files])
    affine = _frames_affine(path, first) if _framed(first) else _affine(path, [one for _, one in files])
    check_affine(path, affine)
    if first.get("PhotometricInterpretation") == _DARK:
        slope, shift = _brightened(first, slope, shift)
    return orient(numbers.transpose(2, 1, 0), affine, slope, shift)


def _brightened(head: Any, slope: float, shift: float) -> tuple[float, float]:
    """Slope and intercept with which large numbers, which such a file shows dark, become small values.

    So values are as bright as they are large, of whatever file; the stored numbers stay.
    """
    ends = (
        -1 if int(head.get("PixelRepresentation", 0)) else 2 ** int(head.BitsStored) - 1
    )  # smallest + largest
    return -slope, shift + slope * ends


def _framed(head: Any) -> bool:
    """Whether a file is a series by itself."""
    return int(head.get("NumberOfFrames", 1) or 1) > 1 or bool(head.get("PerFrameFunctionalGroupsSequence"))


def _grouped(head: Any, name: str) -> list[Any]:
    """What a functional group says of each frame: its own, else what all share, else None."""
    shared = (head.get("SharedFunctionalGroupsSequence") or [{}])[0]
    frames = head.get("PerFrameFunctionalGroupsSequence") or [{}] * int(head.get("NumberOfFrames", 1) or 1)
    return [(one.get(name) or shared.get(name) or [None])[0] for one in frames]


def _scale(path: Path, head: Any) -> tuple[float, float]:
    """Slope and intercept of a file. MediaError for none that can be read, and for frames of different ones."""
    rows = _grouped(head, "PixelValueTransformationSequence")
    if all(one is None for one in rows):
        rows = [head]
    try:
        found = {(float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))) for one in rows}
    except (AttributeError, TypeError, ValueError) as error:
        raise MediaError(f"{path}: its scale cannot be read ({error})") from error
    if len(found) > 1:
        raise MediaError(f"{path}: its frames have {len(found)} different scales; allowed is one")
    (scale,) = found
    if not np.isfinite(scale).all() or not scale[0]:
        raise MediaError(f"{path}: its scale {scale} is not allowed")
    return scale


def _series(path: Source, limits: Limits) -> list[tuple[Path, Any]]:
    """The files of a series with their headers, from the lowest slice to the highest along their normal."""
    check_installed("pydicom", "reading DICOM files", "medical")
    if not isinstance(path, Path) or not path.is_file():
        raise MediaError(f"{path}: no such file")
    own = _header(path, limits)
    if own is None:
        raise MediaError(f"{path}: no DICOM file of a picture")
    if int(own.get("SamplesPerPixel", 1)) != 1 or int(own.BitsAllocated) not in (8, 16):
        raise MediaError(f"{path}: its pixels are not grey of 8 or 16 bits")
    if own.get("PhotometricInterpretation", _BRIGHT) not in (_BRIGHT, _DARK):
        raise MediaError(
            f"{path}: its pixels are {own.PhotometricInterpretation}; allowed are {_BRIGHT} and {_DARK}"
        )
    if _framed(own):
        return [(path, own)]
    found = [(one, _header(one, limits)) for one in sorted(path.parent.iterdir()) if one.is_file()]
    same = [
        (one, head)
        for one, head in found
        if head is not None and head.get("SeriesInstanceUID") == own.get("SeriesInstanceUID")
    ]
    placed = [
        (one, head)
        for one, head in same
        if "ImagePositionPatient" in head and "ImageOrientationPatient" in head
    ]
    if not placed:
        return [(path, own)]
    normal = _normal(*placed[0])
    return sorted(placed, key=lambda pair: float(np.dot(normal, _floats(*pair, "ImagePositionPatient", 3))))


def _header(path: Path, limits: Limits) -> Any:
    """The header of a DICOM picture; None of another file. MediaError before one is read that is too large."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError
    from pydicom.filereader import read_file_meta_info

    try:
        with path.open("rb") as file:
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
        check_bytes(path, limits)
        if read_file_meta_info(path).get("TransferSyntaxUID") == _DEFLATED:
            raise MediaError(
                f"{path}: a deflated data set, which is not allowed: its size is not known before"
            )
        head = dcmread(path, stop_before_pixels=True)
    except MediaError:
        raise
    except (InvalidDicomError, OSError, ValueError, EOFError, AttributeError):
        return None
    return head if "Rows" in head and "Columns" in head else None


def _numbers(path: Path, head: Any) -> np.ndarray:
    """The stored numbers of a file, [rows, columns] or [frames, rows, columns]."""
    import pydicom

    try:
        return np.asarray(pydicom.dcmread(path).pixel_array)
    except Exception as error:  # damaged in one of many ways, or compressed by what is not installed
        raise MediaError(f"{path}: its pixels cannot be read ({error})") from error


def _normal(path: Source, head: Any) -> np.ndarray:
    turn = _floats(path, head, "ImageOrientationPatient", 6)
    return np.cross(turn[:3], turn[3:])


def _affine(path: Source, heads: Sequence[Any]) -> np.ndarray:
    """From (column, row, slice) to mm, LPS. MediaError for slices that are not evenly apart."""
    if "ImagePositionPatient" not in heads[0]:
        return _flat_affine(heads[0])
    return _stacked(path, heads, heads, heads)


def _stacked(
    path: Source, turns: Sequence[Any], places: Sequence[Any], measures: Sequence[Any]
) -> np.ndarray:
    """The same, of what says orientation, position and spacing of each slice; the slices may be sheared."""
    turn = _same(path, turns, "ImageOrientationPatient", 6, "turned")
    rows = _same(path, measures, "PixelSpacing", 2, "spaced")
    corners = np.array([_floats(path, one, "ImagePositionPatient", 3) for one in places])
    if len(corners) == 1:
        thick = measures[0].get("SpacingBetweenSlices") or measures[0].get("SliceThickness") or 1
        return _matrix(turn, rows, np.cross(turn[:3], turn[3:]) * float(thick), corners[0])
    steps = np.diff(corners, axis=0)
    step = (corners[-1] - corners[0]) / len(steps)
    length = float(np.linalg.norm(step))
    if not (length > 0 and np.linalg.norm(steps - step, axis=1).max() <= _UNEVEN * length):
        gaps = np.linalg.norm(steps, axis=1)
        raise MediaError(
            f"{path}: the slices of its series are {gaps.min():.4g} to {gaps.max():.4g} mm apart; allowed are even "
            "gaps along one line (is one missing, or there twice?)"
        )
    return _matrix(turn, rows, step, corners[0])


def _same(path: Source, heads: Sequence[Any], name: str, count: int, how: str) -> np.ndarray:
    """The numbers that all slices have alike. MediaError where they differ."""
    found = np.array([_floats(path, one, name, count) for one in heads])
    if np.abs(found - found[0]).max() > 1e-3:
        raise MediaError(f"{path}: the slices of its series are {how} differently")
    return found[0]


def _floats(path: Source, head: Any, name: str, count: int) -> list[float]:
    """MediaError where they are missing, or no such numbers."""
    try:
        found = [float(v) for v in head.get(name)]
    except (AttributeError, TypeError, ValueError):
        found = []
    if len(found) != count or not np.isfinite(found).all():
        raise MediaError(f"{path}: its place in space cannot be read ({name}: {count} numbers are needed)")
    return found


def _flat_affine(head: Any) -> np.ndarray:
    rows = [float(v) for v in head.get("PixelSpacing", (1, 1))]
    thick = float(head.get("SpacingBetweenSlices", head.get("SliceThickness", 1)) or 1)
    return _matrix(np.array([1.0, 0, 0, 0, 1, 0]), rows, np.array([0, 0, thick]), np.zeros(3))


def _frames_affine(path: Source, head: Any) -> np.ndarray:
    """As `_affine`, of one file of many frames, whose places stand in its functional groups."""
    names = ("PlaneOrientationSequence", "PlanePositionSequence", "PixelMeasuresSequence")
    turns, places, measures = (_grouped(head, name) for name in names)
    if all(one is None for one in (*turns, *places)):
        return _flat_affine(head)
    if len(places) != int(head.get("NumberOfFrames", 1) or 1):
        raise MediaError(f"{path}: {len(places)} places of {head.NumberOfFrames} frames")
    return _stacked(path, turns, places, measures)


def _matrix(
    turn: np.ndarray, rows: Sequence[float] | np.ndarray, step: np.ndarray, origin: np.ndarray
) -> np.ndarray:
    """[4, 4]; the spacing of a DICOM file is that between rows, then between columns."""
    out = np.eye(4)
    out[:3, 0], out[:3, 1] = turn[:3] * rows[1], turn[3:] * rows[0]
    out[:3, 2], out[:3, 3] = step, origin
    return out
