"""Volumes: values, spacing and orientation from file to file, against nibabel and pydicom themselves."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from multigen.errors import MediaError, MultigenError
from multigen.modalities.volume import Volume
from multigen.registry import Part, build

nibabel = pytest.importorskip("nibabel")
pydicom = pytest.importorskip("pydicom")
SECRET = "Doe^Jane"
RAS = np.array([[-0.7, 0, 0, 40.5], [0, 0.8, 0, -31], [0, 0, 2.5, 12], [0, 0, 0, 1]])


def numbers(shape: tuple[int, ...], kind: str = "int16") -> np.ndarray:
    """All of 16 bits, both ends among them."""
    rng = np.random.default_rng(0)
    info = np.iinfo(kind)
    found = rng.integers(info.min, info.max, shape, endpoint=True).astype(kind)
    found.flat[:2] = info.min, info.max
    return found


def nifti(path: Path, data: np.ndarray, affine: np.ndarray, slope: float = 1.0, shift: float = 0.0) -> Path:
    image = nibabel.Nifti1Image(data, affine)
    image.header.set_slope_inter(slope, shift)
    image.header["descrip"] = SECRET.encode()
    image.header["aux_file"] = SECRET.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", SECRET.encode()))
    nibabel.save(image, path)
    return path


def stored(path: Path) -> np.ndarray:
    return np.asarray(nibabel.load(path).dataobj.get_unscaled())


def series(folder: Path, data: np.ndarray, **more: Any) -> Path:
    """A file a slice, uint16 [slices, rows, columns], written in a wrong order of names; one of them."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    uid, path = generate_uid(), folder
    for k, one in enumerate(data):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
        meta.MediaStorageSOPInstanceUID = generate_uid()
        out = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        out.SOPClassUID, out.SOPInstanceUID, out.SeriesInstanceUID = CTImageStorage, generate_uid(), uid
        out.PatientName, out.PatientID = SECRET, SECRET
        out.Rows, out.Columns = one.shape
        out.SamplesPerPixel, out.PhotometricInterpretation = 1, "MONOCHROME2"
        out.BitsAllocated, out.BitsStored, out.HighBit = 16, 16, 15
        out.PixelRepresentation = int(one.dtype.kind == "i")
        out.RescaleSlope, out.RescaleIntercept = "1", "-1024"
        out.PixelSpacing, out.ImageOrientationPatient = ["0.8", "0.7"], ["1", "0", "0", "0", "1", "0"]
        out.ImagePositionPatient = ["-40.5", "-31", f"{12 + 2.5 * k:g}"]
        for name, value in more.items():
            setattr(out, name, value(k) if callable(value) else value)
        out.PixelData = one.tobytes()
        path = folder / f"{(k * 7) % len(data):03d}.dcm"
        out.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("kind", ["int16", "uint16", "uint8", "float32"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_comes_back_number_for_number(kind: str, suffix: str, tmp_path: Path) -> None:
    data = numbers((6, 5, 4), "int16").astype(kind) if kind == "float32" else numbers((6, 5, 4), kind)
    path = nifti(tmp_path / f"in{suffix}", data, RAS, slope=0.5, shift=-1000)
    own = Volume().native(path)
    media = own.read(path)
    assert media.dtype == torch.float64
    own.write(media, tmp_path / f"out{suffix}")
    back = nibabel.load(tmp_path / f"out{suffix}")
    assert back.get_data_dtype() == np.dtype(kind)
    assert np.array_equal(stored(tmp_path / f"out{suffix}"), data)
    assert np.allclose(back.affine, RAS, atol=1e-6)
    assert np.allclose(back.get_fdata(), nibabel.load(path).get_fdata())
    assert back.header.get_xyzt_units()[0] == "mm"
    first = (tmp_path / f"out{suffix}").read_bytes()
    own.write(media, tmp_path / f"out{suffix}")
    assert (tmp_path / f"out{suffix}").read_bytes() == first


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("micron", 1e-3), ("mm", 1), ("meter", 1e3), ("unknown", 1)]
)
def test_a_place_is_in_the_unit_of_its_file(unit: str, millimetres: float, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(numbers((6, 5, 4)), RAS)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "in.nii")
    own = Volume().native(tmp_path / "in.nii")
    own.write(own.read(tmp_path / "in.nii"), tmp_path / "out.nii")
    back = nibabel.load(tmp_path / "out.nii")
    assert back.header.get_xyzt_units()[0] == "mm"
    assert np.allclose(back.affine[:3], RAS[:3] * millimetres, rtol=1e-6)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_every_orientation_is_seen_the_same_and_kept(axes: tuple[int, ...], tmp_path: Path) -> None:
    """A scan stored with its axes in any order and direction: media are equal, and files come back as they were."""
    data = numbers((6, 5, 4))
    plain = nifti(tmp_path / "plain.nii", data, RAS)
    wanted = Volume(window=(-32768, 32767)).read(plain)
    for flips in itertools.product((1, -1), repeat=3):
        change = np.array([[axes.index(k), f] for k, f in enumerate(flips)], float)
        turned = nibabel.orientations.apply_orientation(data, change)
        affine = RAS @ nibabel.orientations.inv_ornt_aff(change, data.shape)
        path = nifti(tmp_path / "turned.nii", np.ascontiguousarray(turned), affine)
        own = Volume().native(path)
        assert torch.equal(Volume(window=(-32768, 32767)).read(path), wanted)
        own.write(own.read(path), tmp_path / "back.nii")
        assert np.array_equal(stored(tmp_path / "back.nii"), turned)
        assert np.allclose(nibabel.load(tmp_path / "back.nii").affine, affine, atol=1e-5)


def test_columns_go_to_the_left_rows_to_the_back_slices_to_the_head(tmp_path: Path) -> None:
    data = np.zeros((6, 5, 4), np.int16)  # right, front, head: the last of each axis
    data[5], data[:, 4], data[:, :, 3] = data[5] + 1, data[:, 4] + 2, data[:, :, 3] + 4
    path = nifti(tmp_path / "in.nii", data, np.diag([1.0, 1, 1, 1]))
    media = Volume(window=(0, 8)).read(path)
    values = ((media[0] + 1) * 4).round()
    assert values.shape == (4, 5, 6)
    assert (values[3] >= 4).all() and (values[:3] < 4).all()
    assert (values[0, 0] >= 2).all() and (values[0, 1:] < 2).all()  # the front is above
    assert values[0, 1, 0] == 1 and (values[0, 1, 1:] == 0).all()  # the patient's right is on the left


@pytest.mark.parametrize("kind", ["uint16", "int16"])
def test_a_dicom_series_becomes_one_file_with_its_values_and_its_place(kind: str, tmp_path: Path) -> None:
    data = numbers((5, 4, 6), kind)
    path = series(tmp_path / "scan", data)
    (tmp_path / "scan" / "notes.txt").write_text("not of the series")
    series(tmp_path / "other", data[:2])
    for one in (tmp_path / "other").iterdir():
        one.rename(tmp_path / "scan" / f"other{one.name}")
    own = Volume().native(path)
    media = own.read(path)
    assert own.info(path).frames == 5 and media.shape == (1, 5, 4, 6)
    low, high = own.window
    assert np.allclose(low + (media[0].numpy() + 1) / 2 * (high - low), data.astype(float) - 1024)
    out = tmp_path / "out.dcm"
    own.write(media, out)
    made = pydicom.dcmread(out)
    assert np.array_equal(made.pixel_array, data)
    assert (float(made.RescaleSlope), float(made.RescaleIntercept)) == (1, -1024)
    again = Volume().native(out)
    assert torch.equal(again.read(out), media)
    # The same place in space, as nibabel says it too.
    own.write(media, tmp_path / "out.nii.gz")
    affine = nibabel.load(tmp_path / "out.nii.gz").affine
    assert np.allclose(affine, [[-0.7, 0, 0, 40.5], [0, -0.8, 0, 31], [0, 0, 2.5, 12], [0, 0, 0, 1]])
    again.write(again.read(out), tmp_path / "again.nii.gz")
    assert np.allclose(nibabel.load(tmp_path / "again.nii.gz").affine, affine, atol=1e-6)
    assert np.array_equal(stored(tmp_path / "again.nii.gz"), data.transpose(2, 1, 0))


def test_nothing_of_a_patient_is_written(tmp_path: Path) -> None:
    scans = [
        series(tmp_path / "scan", numbers((3, 4, 6), "uint16")),
        nifti(tmp_path / "in.nii", numbers((4, 5, 6)), RAS),
    ]
    for k, path in enumerate(scans):
        assert SECRET.encode() in path.read_bytes()
        own = Volume().native(path)
        for suffix in (".nii", ".dcm"):
            own.write(own.read(path), tmp_path / f"{k}{suffix}")
            assert b"Doe" not in (tmp_path / f"{k}{suffix}").read_bytes()
    made, given = pydicom.dcmread(tmp_path / "0.dcm"), pydicom.dcmread(scans[0])
    assert made.PatientIdentityRemoved == "YES" and made.PatientName == "" and made.PatientID == ""
    assert made.SeriesInstanceUID != given.SeriesInstanceUID


def test_a_window_is_what_a_model_sees(tmp_path: Path) -> None:
    data = np.array([-2000, -1000, 0, 500, 1000, 3000], np.int16).reshape(1, 2, 3)
    path = nifti(tmp_path / "in.nii", data, RAS)
    model = Volume(window=(-1000, 1000))
    seen = model.read(path)
    assert seen.dtype == torch.float32 and sorted(seen.flatten().tolist()) == [-1, -1, 0, 0.5, 1, 1]
    own = model.native(path)
    assert torch.allclose(own.convert(own.read(path), model), seen.double())
    back = model.convert(seen, own)
    assert torch.allclose(own.convert(back, model), seen.double(), atol=1e-9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"ImagePositionPatient": lambda k: ["0", "0", str(2 * k + (k > 2))]}, "2 to 3 mm apart"),
        ({"ImagePositionPatient": ["0", "0", "1"]}, "0 to 0 mm apart"),
        ({"RescaleIntercept": lambda k: str(k)}, "its scale is not that of"),
        ({"ImageOrientationPatient": lambda k: ["1", "0", "0", "0", "1", "0"] if k else ["0", "1", "0", "1", "0", "0"]},
         "turned differently"),
        ({"SamplesPerPixel": 3}, "not grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "PALETTE COLOR; allowed are MONOCHROME2 and MONOCHROME1"),
    ],
)  # fmt: skip
def test_a_series_that_is_no_volume_is_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = series(tmp_path / "scan", numbers((5, 4, 6), "uint16"), **more)
    with pytest.raises(MediaError, match=said):
        Volume().read(path)


@pytest.mark.parametrize("kind", ["uint16", "int16"])
def test_a_scan_whose_large_numbers_are_dark_looks_as_it_should(kind: str, tmp_path: Path) -> None:
    """MONOCHROME1: the negative of the same numbers as MONOCHROME2. The stored numbers come back."""
    data = numbers((3, 4, 6), kind)
    bright = Volume(window=(-33000, 66000)).read(series(tmp_path / "bright", ~data))
    path = series(tmp_path / "dark", data, PhotometricInterpretation="MONOCHROME1")
    assert torch.equal(Volume(window=(-33000, 66000)).read(path), bright)
    own = Volume().native(path)
    own.write(own.read(path), tmp_path / "back.dcm")
    assert torch.equal(Volume(window=(-33000, 66000)).read(tmp_path / "back.dcm"), bright)


def test_faults_of_files_are_said(tmp_path: Path) -> None:
    path = nifti(tmp_path / "in.nii.gz", numbers((8, 8, 8)), RAS)
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(path.read_bytes()[:600])
    for file in (cut, tmp_path / "text.nii"):
        if file != cut:
            file.write_text("hello")
        with pytest.raises(MediaError, match=file.name):
            Volume().read(file)
    with pytest.raises(MediaError, match=r"shape \[4, 4, 4, 2\]"):
        Volume().read(nifti(tmp_path / "four.nii", numbers((4, 4, 4, 2)), RAS))
    with pytest.raises(MediaError, match="512 values; allowed are 1 to 100"):
        Volume(max_voxels=100).read(path)
    (tmp_path / "text.dcm").write_text("hello")
    with pytest.raises(MediaError, match="no DICOM file"):
        Volume().read(tmp_path / "text.dcm")
    with pytest.raises(MediaError, match=r"\.nii\.gz"):
        Volume().write(torch.zeros(1, 2, 2, 2), tmp_path / "out.tar.gz")
    floats = nifti(tmp_path / "float.nii", np.ones((3, 3, 3), np.float32), RAS)
    own = Volume().native(floats)
    with pytest.raises(MediaError, match="float32"):
        own.write(own.read(floats), tmp_path / "out.dcm")


def test_phantoms_hold_what_their_caption_says() -> None:
    """A lesion brightens its side of the patient, and no other; the data do not depend on when they are asked for."""
    modality = Volume(size=32, depth=24, window=(-150, 250))
    data = build(
        "dataset",
        Part("phantom_volumes", {"count": 40, "noise": 0.0}),
        where="data",
        given={"modality": modality},
    )
    for index in range(12):
        item = data[index]
        assert torch.equal(item["media"], data[index]["media"]) and item["media"].shape == (1, 24, 32, 32)
        values = -150 + (item["media"][0] + 1) * 200
        lesion = (values > 60) & (values < 81)
        lesion[:, :, :6], lesion[:, :, 26:], lesion[:, :5], lesion[:, 27:] = (
            False,
            False,
            False,
            False,
        )  # the skull's edge
        lesion[:4], lesion[20:] = False, False
        right, left = int(lesion[..., :16].sum()), int(lesion[..., 16:].sum())
        assert {"left": left > 3 * right, "right": right > 3 * left}.get(
            item["text"].split()[-1], max(left, right) < 12
        )
    with pytest.raises(MultigenError, match="volume"):
        build(
            "dataset",
            Part("phantom_volumes"),
            where="data",
            given={"modality": build("modality", Part("image"), where="m")},
        )


def test_a_tilted_gantry_stays_tilted(tmp_path: Path) -> None:
    """Each slice is moved along its rows, too: the third axis is no normal, in either format."""
    path = series(
        tmp_path / "scan", numbers((5, 4, 6), "uint16"),
        ImagePositionPatient=lambda k: ["-40.5", f"{0.9 * k - 31:g}", f"{12 + 2.5 * k:g}"],
    )  # fmt: skip
    own = Volume().native(path)
    assert np.allclose(own._place.affine[:3, 2], [0, 0.9, 2.5])
    media = own.read(path)
    for name in ("out.dcm", "out.nii"):
        own.write(media, tmp_path / name)
        again = Volume().native(tmp_path / name)
        assert np.allclose(again._place.affine, own._place.affine, atol=1e-5)
    bent = series(
        tmp_path / "bent", numbers((5, 4, 6), "uint16"),
        ImagePositionPatient=lambda k: [str(k % 2), "0", f"{2 * k}"],
    )  # fmt: skip
    with pytest.raises(MediaError, match="along one line"):
        Volume().read(bent)


def framed(path: Path, count: int = 3) -> Any:
    """A file of frames, to be changed."""
    own = Volume().native(series(path.parent / "scan", numbers((count, 4, 6), "uint16")))
    own.write(own.read(path.parent / "scan" / "000.dcm"), path)
    return pydicom.dcmread(path)


def test_frames_say_their_scale_and_place_in_their_groups(tmp_path: Path) -> None:
    path = tmp_path / "frames.dcm"
    head = framed(path)
    wanted = Volume().native(path)._place
    shared, rows = head.SharedFunctionalGroupsSequence[0], head.PerFrameFunctionalGroupsSequence
    for row in rows:
        row.PlaneOrientationSequence, row.PixelMeasuresSequence = (
            shared.PlaneOrientationSequence, shared.PixelMeasuresSequence,
        )  # fmt: skip
        scale = pydicom.Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = "2", "-7"
        row.PixelValueTransformationSequence = [scale]
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    head.save_as(path)
    found = Volume().native(path)._place
    assert np.allclose(found.affine, wanted.affine) and (found.slope, found.shift) == (2, -7)
    rows[1].PixelValueTransformationSequence[0].RescaleSlope = "3"
    head.save_as(path)
    with pytest.raises(MediaError, match="2 different scales"):
        Volume().read(path)


@pytest.mark.parametrize("fault", ["spacing", "nan", "few", "deflated", "large"])
def test_frames_whose_place_cannot_be_read_are_refused(fault: str, tmp_path: Path) -> None:
    path = tmp_path / "frames.dcm"
    head = framed(path)
    if fault == "spacing":
        del head.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    elif fault == "nan":
        head.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient = [
            "nan",
            "0",
            "0",
        ]
    elif fault == "few":
        head.PerFrameFunctionalGroupsSequence = head.PerFrameFunctionalGroupsSequence[:2]
    elif fault == "deflated":
        head.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    head.save_as(path)
    said = {"few": "2 places of 3", "deflated": "deflated", "large": "bytes; allowed"}.get(
        fault, "cannot be read"
    )
    with pytest.raises(MediaError, match=said):
        Volume(max_bytes=100 if fault == "large" else 1 << 20).read(path)


@pytest.mark.parametrize("bad", [0.0, np.nan])
def test_axes_that_span_no_space_are_refused(bad: float, tmp_path: Path) -> None:
    affine = RAS.copy()
    affine[2, 2] = bad
    image = nibabel.Nifti1Image(numbers((4, 4, 4)), RAS)
    image.header.set_sform(affine, 1)
    image.header["qform_code"] = 0
    content = bytearray(image.to_bytes())
    content[320:324] = np.float32(bad).tobytes()  # the third number of srow_z
    (tmp_path / "in.nii").write_bytes(content)
    with pytest.raises(MediaError, match="span no space"):
        Volume().read(tmp_path / "in.nii")


def test_wide_whole_numbers_are_read_where_they_fit(tmp_path: Path) -> None:
    data = np.arange(27).reshape(3, 3, 3)
    image = nibabel.Nifti1Image(data, RAS, dtype=np.int64)
    nibabel.save(image, tmp_path / "in.nii")
    own = Volume().native(tmp_path / "in.nii")
    own.write(own.read(tmp_path / "in.nii"), tmp_path / "out.nii")
    assert np.array_equal(stored(tmp_path / "out.nii"), data)
    nibabel.save(nibabel.Nifti1Image(data + 2**40, RAS, dtype=np.int64), tmp_path / "in.nii")
    with pytest.raises(MediaError, match="beyond 32 bits"):
        Volume().read(tmp_path / "in.nii")
