"""Marking a file: plain metadata in every format, and a signature (C2PA) where there can be one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from multigen.errors import MultigenError
from multigen.provenance import pictures, sounds
from multigen.provenance.known import TYPES
from multigen.provenance.made import Made, SourceFile
from multigen.provenance.ogg import ogg
from multigen.provenance.packet import packet
from multigen.provenance.signing import check_format, sign, sign_file, signer_for
from multigen.provenance.tiff import tiff
from multigen.storage.files import atomic, sha256, write_text

# A file, the packet and the line of text -> the file with both.
_Writer = Callable[[bytes, bytes, str], bytes]
LONG = (".mp4", ".mov")  # what is said of them stands at their end
SIDECAR = ".made.json"  # beside a file whose format has no place for metadata


def _jpeg(content: bytes, xmp: bytes, sentence: str) -> bytes:
    if len(xmp) > pictures.JPEG_MOST:
        raise MultigenError(
            f"provenance.embed_recipe: {len(xmp):,} bytes do not fit a JPEG, which holds {pictures.JPEG_MOST:,}; "
            "write .png or .webp"
        )
    return pictures.jpeg(content, xmp)


def _remuxed(kind: str) -> _Writer:
    return lambda content, xmp, sentence: sounds.remuxed(content, xmp, sentence, kind)


_WRITERS: Mapping[str, _Writer] = {
    ".png": pictures.png,
    ".apng": pictures.png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".webp": lambda content, xmp, sentence: pictures.webp(content, xmp),
    ".tif": lambda content, xmp, sentence: tiff(content, xmp),
    ".tiff": lambda content, xmp, sentence: tiff(content, xmp),
    ".gif": lambda content, xmp, sentence: pictures.gif(content, xmp),
    ".mp4": lambda content, xmp, sentence: pictures.mp4(content, xmp),
    ".mov": lambda content, xmp, sentence: pictures.mp4(content, xmp),
    ".m4a": lambda content, xmp, sentence: pictures.mp4(content, xmp),
    ".wav": sounds.wav,
    ".flac": sounds.flac,
    ".mp3": sounds.id3,
    ".aac": sounds.id3,
    ".ogg": ogg,
    ".opus": ogg,
    ".webm": _remuxed("webm"),
    ".mkv": _remuxed("matroska"),
}


def marked(content: bytes, suffix: str, made: Made) -> bytes:
    """A file that says how it was made. What it shows or plays is the same, bit for bit.

    A format without metadata, such as bare samples, stays as it is. MultigenError where it cannot be signed although
    the recipe wants it, or where what is embedded does not fit.
    """
    suffix = suffix.lower()
    check_format(made.sign, suffix)
    writer = _WRITERS.get(suffix)
    if writer is None:
        return content
    content = writer(content, packet(made), made.sentence())
    if suffix not in TYPES:
        return content
    signer = signer_for(made.sign)
    return content if signer is None else sign(content, suffix, made, signer)


def mark_file(path: Path, made: Made) -> str:
    """Mark a file in place, atomically; the sha256 (hex) of its content before.

    Beside a file whose format has no metadata a JSON file says the same.
    """
    content = path.read_bytes()
    if path.suffix.lower() in _WRITERS:
        found = marked(content, path.suffix, made)
        with atomic(path) as temporary:
            temporary.write_bytes(found)
    else:
        write_text(path.with_name(path.name + SIDECAR), json.dumps(made.data(), indent=2) + "\n")
    return hashlib.sha256(content).hexdigest()


def kept_source(made: Made, path: Path) -> Made:
    """The same, with the content of its source where that is the file that is written over."""
    source = made.source
    try:
        if source is None or source.path is None or not source.path.samefile(path):
            return made
        return replace(made, source=SourceFile(source.suffix, content=source.read()))
    except OSError:  # the file is not there, or the source is gone
        return made


def write_marked(path: Path, made: Made, write: Callable[[Path], None]) -> str:
    """Write a file and mark it; the sha256 (hex) of its content before it was marked.

    Where either fails, a file that was there before is as it was, and none is there that is not marked.
    """
    check_format(made.sign, path.suffix)
    if path.suffix.lower() not in _WRITERS:
        write(path)
        return mark_file(path, made)
    with atomic(path) as temporary:
        try:
            write(temporary)
        except MultigenError as error:
            error.args = tuple(str(one).replace(str(temporary), str(path)) for one in error.args)
            raise
        return mark_file(temporary, made)


def write_long(path: Path, made: Made, write: Callable[[Path], None]) -> str:
    """As `write_marked`, in memory that no length needs more of, for the suffixes of `LONG`."""
    assert path.suffix.lower() in LONG
    check_format(made.sign, path.suffix)
    with atomic(path) as temporary:
        write(temporary)
        digest = sha256(temporary)
        with temporary.open("ab") as file:
            file.write(pictures.mp4(b"", packet(made)))
        signer = signer_for(made.sign)
        if signer is not None:
            sign_file(temporary, made, signer)
        return digest


def mark_picture(path: Path, made: Made) -> None:
    """Mark a picture or preview of a medium: without the recipe, which its own file has."""
    mark_file(path, replace(made, embedded=None))
