"""Colours that PNG chunks (cICP, sRGB, gAMA, cHRM) and AVIF and HEIC files (nclx) name: read, and written into PNG."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from PIL import Image as PillowImage

from multigen.modalities.coded_colour import PRIMARIES, SRGB, TRANSFERS, Coding, to_xyz

_KEY = "multigen_coding"  # in the `info` of an open picture
_CHUNKS, _BOXES, _META = 1024, 64, 16 * 1024**2  # most that are looked at: chunks, boxes, bytes of metadata
_GAMMAS = (0.1, 10.0)  # exponents that are believed


def tag(image: PillowImage.Image, file: BinaryIO) -> None:
    """Note in an open picture which colours its file names, so that `coding` finds them. Nothing is decoded.

    Of PNG, cICP comes before iCCP, iCCP before sRGB, and sRGB before gAMA and cHRM (PNG, third edition, 4.3); of AVIF
    and HEIC, an ICC profile comes before nclx (ISO/IEC 23000-22). Tags that are damaged or unknown are ignored.
    """
    place, found = file.tell(), None
    if image.format == "PNG":
        chunks = _png_chunks(file)
        found = _of_cicp(chunks.get(b"cICP", b""))
        if found is not None:
            image.info.pop("icc_profile", None)
        elif not image.info.get("icc_profile"):
            found = Coding() if b"sRGB" in chunks else _of_gamma(chunks)
    elif image.format in ("AVIF", "HEIF") and not image.info.get("icc_profile"):
        found = _of_nclx(_metadata(file))
    file.seek(place)
    if found is not None:
        image.info[_KEY] = found


def coding(image: PillowImage.Image) -> Coding | None:
    """Which colours the file of a picture names. None: none, or an ICC profile."""
    found = image.info.get(_KEY)
    return found if isinstance(found, Coding) else None  # a text of a PNG may have that name


def with_coding(image: PillowImage.Image, of: PillowImage.Image) -> PillowImage.Image:
    """Give a picture the colours, named or of a profile, of another."""
    for key in ("icc_profile", _KEY):
        image.info[key] = of.info.get(key)
    return image


def png_chunks(coding: Coding | None) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG that name these colours, and their content. None: none."""
    if coding is None:
        return []
    if not coding.gamma and not coding.chromaticities:
        return [(b"cICP", bytes([coding.primaries, coding.transfer, 0, not coding.limited]))]
    chunks = []
    if coding.gamma:
        chunks.append((b"gAMA", struct.pack(">I", round(100_000 / coding.gamma))))
    if coding.chromaticities:
        chunks.append((b"cHRM", struct.pack(">8I", *(round(100_000 * v) for v in coding.chromaticities))))
    return chunks


# --- PNG --------------------------------------------------------------------------------------------------------


def _png_chunks(file: BinaryIO) -> dict[bytes, bytes]:
    """The chunks of colours before the pixels."""
    found: dict[bytes, bytes] = {}
    file.seek(8)
    for _ in range(_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] in (b"IDAT", b"IEND"):
            break
        size = int.from_bytes(head[:4])
        if head[4:] in (b"cICP", b"sRGB", b"gAMA", b"cHRM") and size <= 32:
            found.setdefault(head[4:], file.read(size))
            size = 0
        file.seek(size + 4, 1)
    return found


def _of_cicp(data: bytes) -> Coding | None:
    if len(data) != 4:
        return None
    primaries, transfer, matrix, full = data
    if primaries not in PRIMARIES or transfer not in TRANSFERS or matrix or full > 1:
        return None
    return Coding(primaries, transfer, limited=not full)


def _of_gamma(chunks: dict[bytes, bytes]) -> Coding | None:
    gamma, points = 0.0, ()
    if len(data := chunks.get(b"gAMA", b"")) == 4 and any(data):
        exponent = 100_000 / int.from_bytes(data)
        gamma = exponent if _GAMMAS[0] <= exponent <= _GAMMAS[1] else 0.0
    if len(data := chunks.get(b"cHRM", b"")) == 32:
        with suppress(ValueError):
            points = tuple(v / 100_000 for v in struct.unpack(">8I", data))
            to_xyz(points)
            return Coding(gamma=gamma, chromaticities=points)
    return Coding(gamma=gamma) if gamma else None


# --- AVIF and HEIC: boxes of ISO/IEC 14496-12 ----------------------------------------------------------------------


def _metadata(file: BinaryIO) -> bytes:
    """The content of the box `meta` of a file; b"" without one."""
    file.seek(0)
    for _ in range(_BOXES):
        head = file.read(8)
        if len(head) < 8:
            break
        size, begin = int.from_bytes(head[:4]), 8
        if size == 1:
            size, begin = int.from_bytes(file.read(8)), 16
        if size < begin:
            break
        if head[4:] == b"meta":
            return file.read(size - begin) if size <= _META else b""
        file.seek(size - begin, 1)
    return b""


def _of_nclx(meta: bytes) -> Coding | None:
    """The colours of the picture that a file shows, its primary item."""
    boxes = dict(_boxes(meta[4:]))
    properties = dict(_boxes(boxes.get(b"iprp", b"")))
    shown = boxes.get(b"pitm", b"")
    shown = int.from_bytes(shown[4:6] if shown[:1] == b"\0" else shown[4:8])
    listed = list(_boxes(properties.get(b"ipco", b"")))
    for index in _associated(properties.get(b"ipma", b""), shown):
        name, data = listed[index - 1] if 0 < index <= len(listed) else (b"", b"")
        if name == b"colr" and data[:4] == b"nclx" and len(data) >= 10:
            primaries, transfer = struct.unpack(">HH", data[4:8])
            found = Coding(transfer=transfer if transfer in TRANSFERS else SRGB)
            unknown = 9 if found.hdr else 1
            return Coding(primaries if primaries in PRIMARIES else unknown, found.transfer)
    return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box; ends at one that is damaged."""
    place = 0
    while place + 8 <= len(data):
        size, begin = int.from_bytes(data[place : place + 4]), 8
        if size == 1:
            size, begin = int.from_bytes(data[place + 8 : place + 16]), 16
        elif size == 0:
            size = len(data) - place
        if size < begin or place + size > len(data):
            return
        yield data[place + 4 : place + 8], data[place + begin : place + size]
        place += size


def _associated(ipma: bytes, item: int) -> list[int]:
    """The numbers, from 1, of an item's properties."""
    wide_item, wide_index = (4 if ipma[:1] > b"\0" else 2), (2 if ipma[3:4] and ipma[3] & 1 else 1)
    place = 8
    for _ in range(int.from_bytes(ipma[4:8])):
        if place + wide_item >= len(ipma):
            break
        name, count = int.from_bytes(ipma[place : place + wide_item]), ipma[place + wide_item]
        place += wide_item + 1
        found = ipma[place : place + count * wide_index]
        place += count * wide_index
        if name == item:
            mask = (1 << (8 * wide_index - 1)) - 1
            return [
                int.from_bytes(found[k : k + wide_index]) & mask for k in range(0, len(found), wide_index)
            ]
    return []
