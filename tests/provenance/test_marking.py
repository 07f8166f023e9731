"""Files of every format say how they were made, signed where there can be a signature, and play as before."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from multigen.errors import MultigenError
from multigen.modalities.media import Media
from multigen.provenance import marking, reading, signing
from multigen.provenance.made import COMPOSITE, GENERATED, Made, SourceFile
from multigen.provenance.marking import SIDECAR, mark_file, marked
from multigen.provenance.reading import read_said, read_signed
from tests.provenance.media import FORMATS, MADE, MODALITIES, SIGNED, TOLD, medium, written

c2pa = pytest.importorskip("c2pa")


@pytest.mark.parametrize(("kind", "suffix"), FORMATS)
def test_a_file_of_every_format_says_how_it_was_made_and_plays_as_before(
    tmp_path: Path, kind: str, suffix: str
) -> None:
    path = written(tmp_path, kind, suffix)
    before, shown = path.read_bytes(), MODALITIES[kind].read(path)
    for made in (TOLD, Made("m", "h", sign="off", embedded=TOLD.embedded)):
        path.write_bytes(before)
        assert mark_file(path, made) == hashlib.sha256(before).hexdigest()
        assert torch.equal(MODALITIES[kind].read(path), shown)
        assert read_said(path) == made.data()
        assert read_said(path)["digital_source_type"] == GENERATED  # type: ignore[index]
    assert read_signed(path).state == "unsigned"
    assert len(path.read_bytes()) - len(before) < 1600
    assert path.read_bytes() == marked(before, suffix, made)  # without a signature always the same


@pytest.mark.parametrize(("kind", "suffix"), SIGNED)
def test_a_signature_holds_until_one_byte_is_another(tmp_path: Path, kind: str, suffix: str) -> None:
    path = written(tmp_path, kind, suffix)
    plain = path.read_bytes()
    mark_file(path, MADE)
    found = read_signed(path)
    assert found.state == "trusted" and found.by == "multigen local certificate (multigen)"
    assert found.said == MADE.data() and found.faults == ()
    (action,) = found.actions
    assert action["action"] == "c2pa.created" and action["digital_source_type"] == GENERATED
    content = bytearray(path.read_bytes())
    assert 3000 < len(content) - len(plain) < 5600
    # What another program of C2PA reads, which does not know our authority.
    with c2pa.Reader(signing.TYPES[suffix], io.BytesIO(content)) as reader:
        assert reader.get_validation_state() == "Valid"
        said = json.loads(reader.json())["manifests"]
        assert MADE.weights_hash in json.dumps(said) and "prompt" not in json.dumps(said)
    content[-3] ^= 1
    path.write_bytes(content)
    assert read_signed(path).state in ("altered", "unreadable")
    assert read_signed(path).faults


def test_a_picture_that_is_saved_anew_is_not_signed(tmp_path: Path) -> None:
    path = written(tmp_path, "image", ".png")
    mark_file(path, TOLD)
    with Image.open(path) as picture:
        picture.save(tmp_path / "again.png", pnginfo=None)
    assert read_signed(tmp_path / "again.png").state == "unsigned"
    assert read_said(tmp_path / "again.png") is None


def test_other_programs_read_the_metadata(tmp_path: Path) -> None:
    picture = written(tmp_path, "image", ".png")
    mark_file(picture, MADE)
    with Image.open(picture) as opened:
        assert opened.info["Comment"] == MADE.sentence() and GENERATED in opened.info["XML:com.adobe.xmp"]
    for suffix in (".jpg", ".webp"):
        path = written(tmp_path, "image", suffix)
        mark_file(path, MADE)
        with Image.open(path) as opened:
            assert GENERATED in opened.info["xmp"].decode()
    for suffix in (".wav", ".flac", ".mp3"):
        path = written(tmp_path, "audio", suffix)
        mark_file(path, MADE)
        with av.open(str(path)) as container:
            assert MADE.sentence() in container.metadata.values(), suffix


def test_an_edit_names_its_source_with_the_manifest_of_it(tmp_path: Path) -> None:
    source = written(tmp_path, "image", ".png")
    plain = source.read_bytes()
    mark_file(source, MADE)
    signed = source.read_bytes()
    gone, damaged = tmp_path / "gone.png", signed[:300] + b"\0" * 400 + signed[700:]
    rows = {
        "signed": SourceFile(".png", source),
        "plain": SourceFile(".png", content=plain),
        "gone": SourceFile(".png", gone),
        "damaged": SourceFile(".png", content=damaged),
        "other": SourceFile(".xyz", content=b"what"),
        "none": None,
    }
    for name, file in rows.items():
        path = tmp_path / f"{name}-edit.png"
        path.write_bytes(plain)
        mark_file(path, Made("m", "h", edited=True, source=file))
        found = read_signed(path)
        assert found.state == "trusted", (name, found)
        assert [one["action"] for one in found.actions] == ["c2pa.opened", "c2pa.edited"]
        assert found.actions[1]["digital_source_type"] == COMPOSITE
        assert len(found.sources) == 1 and found.sources[0].startswith("source"), name
        with c2pa.Reader("image/png", io.BytesIO(path.read_bytes())) as reader:
            (ingredient,) = (reader.get_active_manifest() or {})["ingredients"]
        assert ingredient["relationship"] == "parentOf"
        assert ("active_manifest" in ingredient) == (name == "signed")


def test_a_file_that_is_signed_in_place_is_whole_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = written(tmp_path, "image", ".png"), []
    real = os.replace

    def replace(one: Path, other: Path) -> None:
        seen.append(Path(one).read_bytes())
        real(one, other)

    monkeypatch.setattr(signing, "_sign", lambda content, out, *rest: out.write(b"few bytes"))
    monkeypatch.setattr("multigen.storage.files.os.replace", replace)
    signing.sign_file(path, MADE, signing=object())  # type: ignore[arg-type]
    assert seen == [b"few bytes"] and path.read_bytes() == b"few bytes"


def test_a_format_without_metadata_gets_a_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "sound.raw"
    path.write_bytes(b"\0\1" * 100)
    mark_file(path, TOLD)
    assert path.read_bytes() == b"\0\1" * 100
    assert read_said(path) == TOLD.data() and path.with_name(path.name + SIDECAR).is_file()


def test_a_recipe_that_does_not_fit_a_jpeg_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "image", ".jpg")
    with pytest.raises(MultigenError, match=r"embed_recipe: .* do not fit a JPEG.*\.png or \.webp"):
        mark_file(path, Made("m", "h", embedded={"recipe": "x" * 70_000}))


def test_without_the_extra_files_say_the_same_unsigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "installed", lambda: False)
    monkeypatch.setattr(reading, "installed", lambda: False)
    path = written(tmp_path, "audio", ".wav")
    mark_file(path, TOLD)
    assert read_said(path) == TOLD.data()
    with pytest.raises(MultigenError, match=r"provenance"):
        marked(path.read_bytes(), ".wav", Made("m", "h", sign="on"))
    monkeypatch.undo()
    assert read_signed(path).state == "unsigned"


@pytest.mark.parametrize("order", ["II", "MM"])
def test_a_tiff_of_either_order_keeps_its_pixels(tmp_path: Path, order: str) -> None:
    path, values = (
        tmp_path / "a.tif",
        torch.arange(35 * 21).reshape(35, 21).mul(89).numpy().astype(f"{'<' if order == 'II' else '>'}u2"),
    )
    Image.fromarray(values).save(path)
    assert path.read_bytes()[:2] == order.encode()
    mark_file(path, TOLD)
    with Image.open(path) as picture:
        assert (np.asarray(picture) == values).all() and b"multigen:made" in picture.tag_v2[700]
    assert read_signed(path).state == "trusted" and read_said(path) == TOLD.data()


def test_an_edit_that_is_written_over_its_source_names_the_source(tmp_path: Path) -> None:
    path = written(tmp_path, "image", ".png")
    mark_file(path, MADE)
    source = path.read_bytes()
    made = Made("other", "h", edited=True, source=SourceFile(".png", path))
    Media(-medium("image"), MODALITIES["image"], made=made).save(path)
    with c2pa.Reader("image/png", io.BytesIO(path.read_bytes())) as reader:
        store = json.loads(reader.json())
    (ingredient,) = store["manifests"][store["active_manifest"]]["ingredients"]
    with c2pa.Reader("image/png", io.BytesIO(source)) as reader:
        assert ingredient["active_manifest"] == json.loads(reader.json())["active_manifest"]
    assert read_signed(path).state == "trusted" and read_signed(path).said["model"] == "other"


def test_a_file_that_cannot_be_marked_is_not_there_and_the_one_before_stays(tmp_path: Path) -> None:
    large = Made("m", "h", embedded={"recipe": "x" * 70_000})
    one = Media(medium("image"), MODALITIES["image"], made=large)
    (tmp_path / "before.jpg").write_bytes(b"mine")
    for name in ("new.jpg", "before.jpg"):
        with pytest.raises(MultigenError, match="do not fit a JPEG"):
            one.save(tmp_path / name)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("before.jpg", b"mine")]


@pytest.mark.parametrize(
    ("kind", "suffix"), [("audio", ".ogg"), ("audio", ".opus"), ("video", ".webm"), ("video", ".mkv")]
)
def test_what_has_to_be_signed_and_cannot_be_is_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    made = Made("m", "h", "on")
    with pytest.raises(
        MultigenError, match=f"provenance.sign=on: {suffix} files cannot be signed. Allowed: .png"
    ):
        Media(medium(kind), MODALITIES[kind], made=made).save(tmp_path / f"a{suffix}")
    with pytest.raises(MultigenError, match="cannot be signed"):
        marked(b"", suffix, made)
    assert not list(tmp_path.iterdir())


def test_every_format_that_is_written_is_known() -> None:
    assert {suffix for _, suffix in FORMATS} <= set(marking._WRITERS)
