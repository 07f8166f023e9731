"""Volumes written as DICOM: one file of the kind "Multi-frame Grayscale Word Secondary Capture".

It has new identifiers, and nothing of a patient.
"""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np

from multigen.errors import MediaError
from multigen.modalities.volume_file import Scan, in_file
from multigen.storage.packages import check_installed

_BRIGHT = "MONOCHROME2"  # the largest number is shown white
_GREY_WORD = "1.2.840.10008.5.1.4.1.1.7.3"


def dicom_bytes(scan: Scan) -> bytes:
    """One DICOM file of all slices. MediaError for values that are stored in more than 16 bits, or as floats."""
    check_installed("pydicom", "writing DICOM files", "medical")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    numbers, affine = in_file(scan)
    if numbers.dtype.kind not in "iu" or numbers.dtype.itemsize > 2:
        raise MediaError(f"DICOM: numbers of the kind {numbers.dtype} are not allowed; write .nii.gz")
    across = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    if abs(across[:, 0] @ across[:, 1]) > 1e-3:
        raise MediaError(
            "DICOM: slices whose rows and columns are not at right angles are not allowed; write .nii.gz"
        )
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
    out.SamplesPerPixel, out.PhotometricInterpretation = 1, _BRIGHT
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
