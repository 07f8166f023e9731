"""Volumes in DICOM files: a series of slices, one file each in one folder, or one file of many frames.

What is written is one file of the kind "Multi-frame Grayscale Word Secondary Capture", with new identifiers and without
anything of a patient.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from multigen.errors import MediaError
from multigen.modalities import Info, Limits
from multigen.modalities.member import Source
from multigen.modalities.volume_file import Scan, check_voxels, in_file, orient
from multigen.storage.packages import check_installed

_UNEVEN = 0.02  # of the usual gap between slices, by which one may differ
_GREY_WORD = "1.2.840.10008.5.1.4.1.1.7.3"


def dicom_info(path: Source, limits: Limits) -> Info:
    """The header of the series of a file. MediaError for one that cannot be read."""
    files = _series(path)
    first = files[0][1]
    count = len(files) if len(files) > 1 else int(first.get("NumberOfFrames", 1) or 1)
    rows, columns = int(first.Rows), int(first.Columns)
    check_voxels(path, (rows, columns, count), limits)
    return Info(duration=float(count), width=columns, height=rows, channels=1, frames=count)


def read_dicom(path: Source, limits: Limits) -> Scan:
    """The series that a file belongs to: all of the same series in its folder. MediaError names the fault."""
    dicom_info(path, limits)
    files = _series(path)
    first = files[0][1]
    slope, shift = float(first.get("RescaleSlope", 1)), float(first.get("RescaleIntercept", 0))
    for name, one in files[1:]:
        said = float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))
        if said != (slope, shift) or (one.Rows, one.Columns) != (first.Rows, first.Columns):
            raise MediaError(f"{name}: its size or its scale is not that of {files[0][0].name}")
    if len(files) == 1 and int(first.get("NumberOfFrames", 1) or 1) > 1:
        numbers, affine = _numbers(*files[0]), _frames_affine(files[0][0], first)
    else:
        numbers = np.stack([_numbers(name, one) for name, one in files])
        affine = _affine(path, [one for _, one in files])
    return orient(numbers.transpose(2, 1, 0), affine, slope, shift)


def _series(path: Source) -> list[tuple[Path, Any]]:
    """The files of a series with their headers, from the lowest slice to the highest along their normal."""
    check_installed("pydicom", "reading DICOM files", "medical")
    if not isinstance(path, Path) or not path.is_file():
        raise MediaError(f"{path}: no such file")
    own = _header(path)
    if own is None:
        raise MediaError(f"{path}: no DICOM file of a picture")
    if int(own.get("SamplesPerPixel", 1)) != 1 or int(own.BitsAllocated) not in (8, 16):
        raise MediaError(f"{path}: its pixels are not grey of 8 or 16 bits")
    if int(own.get("NumberOfFrames", 1) or 1) > 1:
        return [(path, own)]
    found = [(one, _header(one)) for one in sorted(path.parent.iterdir()) if one.is_file()]
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
    normal = _normal(placed[0][1])
    return sorted(placed, key=lambda pair: float(np.dot(normal, pair[1].ImagePositionPatient)))


def _header(path: Path) -> Any:
    """The header of a DICOM picture; None of another file."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        head = dcmread(path, stop_before_pixels=True)
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


def _normal(head: Any) -> np.ndarray:
    turn = np.array([float(v) for v in head.ImageOrientationPatient])
    return np.cross(turn[:3], turn[3:])


def _affine(path: Source, heads: Sequence[Any]) -> np.ndarray:
    """From (column, row, slice) to mm, LPS. MediaError for slices that are not evenly apart."""
    first = heads[0]
    if "ImagePositionPatient" not in first:
        return _flat_affine(first)
    turn = np.array([float(v) for v in first.ImageOrientationPatient])
    if any(
        not np.allclose([float(v) for v in one.ImageOrientationPatient], turn, atol=1e-3) for one in heads
    ):
        raise MediaError(f"{path}: the slices of its series are turned differently")
    places = np.array([[float(v) for v in one.ImagePositionPatient] for one in heads])
    along = places @ _normal(first)
    gaps = np.diff(along)
    usual = float(np.median(gaps)) if len(gaps) else float(first.get("SliceThickness", 1) or 1)
    if len(gaps) and (usual <= 0 or np.abs(gaps - usual).max() > _UNEVEN * usual):
        raise MediaError(
            f"{path}: the slices of its series are {gaps.min():.4g} to {gaps.max():.4g} mm apart; allowed are even "
            "gaps (is one missing, or there twice?)"
        )
    return _matrix(turn, [float(v) for v in first.get("PixelSpacing", (1, 1))], usual, places[0])


def _flat_affine(head: Any) -> np.ndarray:
    rows = [float(v) for v in head.get("PixelSpacing", (1, 1))]
    thick = float(head.get("SpacingBetweenSlices", head.get("SliceThickness", 1)) or 1)
    return _matrix(np.array([1.0, 0, 0, 0, 1, 0]), rows, thick, np.zeros(3))


def _frames_affine(path: Path, head: Any) -> np.ndarray:
    """As `_affine`, of one file of many frames, whose places stand in its functional groups."""
    groups = head.get("PerFrameFunctionalGroupsSequence")
    shared = (head.get("SharedFunctionalGroupsSequence") or [None])[0]
    if not groups or shared is None or "PlaneOrientationSequence" not in shared:
        return _flat_affine(head)
    turn = np.array([float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient])
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    places = np.array(
        [[float(v) for v in one.PlanePositionSequence[0].ImagePositionPatient] for one in groups]
    )
    along = places @ np.cross(turn[:3], turn[3:])
    gaps = np.diff(along)
    if (np.abs(gaps - gaps.mean()) > _UNEVEN * abs(gaps.mean())).any() or not gaps.mean():
        raise MediaError(f"{path}: its frames are not evenly apart")
    return _matrix(turn, spacing, float(gaps.mean()), places[0])


def _matrix(turn: np.ndarray, rows: Sequence[float], gap: float, origin: np.ndarray) -> np.ndarray:
    """[4, 4]; the spacing of a DICOM file is that between rows, then between columns."""
    out = np.eye(4)
    out[:3, 0], out[:3, 1] = turn[:3] * rows[1], turn[3:] * rows[0]
    out[:3, 2], out[:3, 3] = np.cross(turn[:3], turn[3:]) * gap, origin
    return out


def dicom_bytes(scan: Scan) -> bytes:
    """One DICOM file of all slices. MediaError for values that are stored in more than 16 bits, or as floats."""
    check_installed("pydicom", "writing DICOM files", "medical")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    numbers, affine = in_file(scan)
    if numbers.dtype.kind not in "iu" or numbers.dtype.itemsize > 2:
        raise MediaError(f"DICOM: numbers of the kind {numbers.dtype} are not allowed; write .nii.gz")
    frames = np.ascontiguousarray(numbers.transpose(2, 1, 0))
    frames = frames.astype(np.int16 if frames.dtype.kind == "i" else np.uint16)
    digest = hashlib.sha256(frames.tobytes() + affine.tobytes()).hexdigest()
    names = {key: generate_uid(entropy_srcs=[digest, key]) for key in ("study", "series", "file", "frame")}
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(_GREY_WORD), names["file"]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    out.SOPClassUID, out.SOPInstanceUID = _GREY_WORD, names["file"]
    out.StudyInstanceUID, out.SeriesInstanceUID = names["study"], names["series"]
    out.FrameOfReferenceUID = names["frame"]
    for key in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
    ):
        setattr(out, key, "")  # the standard asks for them; they may be empty
    out.StudyID = out.ReferringPhysicianName = out.PositionReferenceIndicator = ""
    out.PatientIdentityRemoved, out.DeidentificationMethod = "YES", "values and geometry alone are kept"
    out.Modality, out.ConversionType, out.SeriesNumber, out.InstanceNumber = "OT", "WSD", 1, 1
    out.BurnedInAnnotation = "NO"
    _pixels(out, frames, scan)
    _groups(out, affine, len(frames))
    file = io.BytesIO()
    out.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _pixels(out: Any, frames: np.ndarray, scan: Scan) -> None:
    out.NumberOfFrames, out.Rows, out.Columns = frames.shape
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
    out.BitsAllocated, out.BitsStored, out.HighBit = 16, 16, 15
    out.PixelRepresentation = int(frames.dtype.kind == "i")
    out.RescaleSlope, out.RescaleIntercept = f"{scan.place.slope:.10g}", f"{scan.place.shift:.10g}"
    out.RescaleType, out.PresentationLUTShape = "US", "IDENTITY"
    out.PixelData = frames.astype(frames.dtype.newbyteorder("<")).tobytes()


def _groups(out: Any, affine: np.ndarray, count: int) -> None:
    """Spacing, orientation and the place of each frame."""
    from pydicom.dataset import Dataset

    spacing = np.sqrt((affine[:3, :3] ** 2).sum(0))
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
    measures.SliceThickness = measures.SpacingBetweenSlices = f"{spacing[2]:.10g}"
    plane.ImageOrientationPatient = [f"{v:.10f}"[:16] for v in (affine[:3, :2] / spacing[:2]).T.ravel()]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    out.SharedFunctionalGroupsSequence = [shared]
    rows = []
    for k in range(count):
        row, place = Dataset(), Dataset()
        place.ImagePositionPatient = [f"{v:.10g}"[:16] for v in affine[:3, 3] + k * affine[:3, 2]]
        row.PlanePositionSequence = [place]
        rows.append(row)
    out.PerFrameFunctionalGroupsSequence = rows
