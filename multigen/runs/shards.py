"""One shard: a WebDataset tar and its index, each written beside its name and renamed, the shard first."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from torch import Tensor

from multigen.datasets import Dataset
from multigen.datasets import index as shard_index
from multigen.datasets.index import Sample, Shard, Span
from multigen.datasets.media_files import Files, Told
from multigen.errors import TrainingError
from multigen.modalities import Modality
from multigen.modalities.member import open_source
from multigen.storage.files import atomic, sha256, write_text

_HEADER = 512  # bytes that a tar writes before a member


@dataclass(frozen=True)
class Entry:
    """A medium to pack.

    index     its number in the dataset
    told      its name, captions and label, where the dataset knows them before it is read
    suffix    of the file that is packed
    seconds   its duration; 0 for a picture
    held_out  whether the dataset holds it out; None: the reader decides
    stamp     numbers that change when its content may have changed
    """

    index: int
    told: Told
    suffix: str
    seconds: float
    held_out: bool | None
    stamp: list[int]


def write_shard(out: Path, file: str, part: Sequence[Entry], dataset: Dataset, modality: Modality) -> Shard:
    """Write one shard and its index, unless an earlier command has written them from the same media."""
    tar, lines, stamp = (
        out / file,
        out / shard_index.index_name(file),
        out / f"{file.removesuffix('.tar')}.stamp",
    )
    wanted = hashlib.sha256(
        json.dumps([shard_index.VERSION, list(dataset.classes), [_row(e) for e in part]]).encode()
    ).hexdigest()
    kept = _kept(tar, lines, stamp, wanted)
    if kept is not None:
        return kept
    samples: list[Sample] = []
    with (
        atomic(tar) as temporary,
        temporary.open("wb") as target,
        tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        samples += [_add(archive, target, entry, dataset, modality) for entry in part]
    write_text(lines, "".join(s.model_dump_json() + "\n" for s in samples))
    shard = Shard(file, tar.stat().st_size, sha256(tar), len(samples), sha256(lines))
    write_text(stamp, json.dumps({"wanted": wanted, "shard": vars(shard)}))
    return shard


def _row(entry: Entry) -> list[object]:
    return [entry.index, *entry.told, entry.suffix, entry.seconds, entry.held_out, entry.stamp]


def _kept(tar: Path, lines: Path, stamp: Path, wanted: str) -> Shard | None:
    """The shard that an earlier command wrote from the same media; None if there is none."""
    try:
        said = json.loads(stamp.read_text(encoding="utf-8"))
        shard = Shard(**said["shard"])
        same = said["wanted"] == wanted and tar.stat().st_size == shard.size
        if same and sha256(tar) == shard.sha256 and sha256(lines) == shard.index_sha256:
            return shard
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _add(
    archive: tarfile.TarFile, target: BinaryIO, entry: Entry, dataset: Dataset, modality: Modality
) -> Sample:
    """Append the members of one sample."""
    key, told = f"{entry.index:08d}", entry.told
    members: dict[str, Span] = {}
    if isinstance(dataset, Files):
        source = dataset.source(entry.index)
        size = entry.stamp[0]
        try:
            with open_source(source) as file:
                members[entry.suffix] = _member(archive, target, key + entry.suffix, file, size)
        except OSError as error:
            raise TrainingError(
                f"{source}: changed while it was packed ({error}). Run the same command again."
            ) from error
    else:
        item = dataset[entry.index]
        told = Told(item["id"], (item.get("text", ""),), item.get("label"))
        content = _encoded(modality, item["media"], entry.suffix)
        members[entry.suffix] = _member(
            archive, target, key + entry.suffix, io.BytesIO(content), len(content)
        )
    for suffix, content in _beside(told, dataset.classes):
        members[suffix] = _member(archive, target, key + suffix, io.BytesIO(content), len(content))
    return Sample(
        name=told.name, suffix=entry.suffix, seconds=entry.seconds, texts=list(told.texts), label=told.label,
        held_out=entry.held_out, members=members,
    )  # fmt: skip


def _beside(told: Told, classes: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The members that accompany a medium: its captions, one a line, and all that is known of it as JSON."""
    if any(told.texts):
        yield ".txt", "\n".join(told.texts).encode()
    known: dict[str, object] = {"name": told.name, "texts": list(told.texts)}
    if told.label is not None:
        known |= {"label": told.label, "class": classes[told.label]}
    yield ".json", json.dumps(known, ensure_ascii=False).encode()


def _member(archive: tarfile.TarFile, target: BinaryIO, name: str, file: BinaryIO, size: int) -> Span:
    """Append `size` bytes of a file under a given name; the same bytes whoever packs them, and when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    offset = target.tell() + _HEADER
    counted = _Counted(file)
    archive.addfile(info, counted)
    if file.read(1):
        raise OSError("it has grown")
    return Span(offset=offset, size=size, crc32=counted.crc)


class _Counted(io.RawIOBase):
    """A file that keeps the CRC-32 of what is read from it."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.crc = file, 0

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.crc = zlib.crc32(content, self.crc)
        return content


def _encoded(modality: Modality, media: Tensor, suffix: str) -> bytes:
    """The file that the modality writes."""
    with tempfile.TemporaryDirectory(prefix="multigen-pack-") as folder:
        path = Path(folder, f"medium{suffix}")
        modality.write(media, path)
        return path.read_bytes()
