"""`multigen pack`: media of a folder or a built-in set as shards that `data.name=shards` reads.

Each shard and its index are written beside their names and renamed, the shard first, so that a command that was killed
goes on with the first shard that is not there yet, and what comes out is the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

from multigen import registry
from multigen.datasets import Dataset
from multigen.datasets import index as shard_index
from multigen.datasets.folder import Folder
from multigen.datasets.index import Index, Sample, Shard, Span
from multigen.datasets.media_files import Files, Told
from multigen.errors import MultigenError, TrainingError
from multigen.modalities import Modality
from multigen.modalities.member import opened, size_of
from multigen.model.build import build_dataset
from multigen.recipe.schema import Recipe
from multigen.storage.files import atomic, sha256, write_text
from multigen.storage.lock import LOCK, locked

log = logging.getLogger(__name__)

# Files that lose nothing, which the media of a built-in set are written as.
_LOSSLESS = {"image": ".png", "audio": ".flac", "video": ".apng"}
_HEADER = 512  # bytes that a tar writes before a member


@dataclass(frozen=True)
class Entry:
    """A medium to pack. `stamp` changes when its content may have changed."""

    index: int
    told: Told
    suffix: str
    seconds: float
    held_out: bool | None
    stamp: list[int]


def pack(recipe: Recipe, out: Path, *, shard_bytes: int, quiet: bool = False) -> tuple[int, dict[str, str]]:
    """Write the media of a recipe's dataset as shards of about `shard_bytes`; their number, and what cannot be read.

    What stands in `out` of the same media already is kept. MultigenError if `out` holds something else, or another
    command is packing into it.
    """
    _check_folder(out)
    with locked(out, stays=False):  # shards are passed on
        return _pack(recipe, out, shard_bytes, quiet)


def _pack(recipe: Recipe, out: Path, shard_bytes: int, quiet: bool) -> tuple[int, dict[str, str]]:
    modality: Modality = registry.build("modality", recipe.modality, where="modality")
    dataset = build_dataset(recipe, modality)
    entries = _of_files(dataset) if isinstance(dataset, Folder) else _of_set(recipe, dataset, modality)
    plan = _plan(dataset, entries, shard_bytes)
    shard_index.write(out, None)
    shards = []
    with tqdm(total=len(entries), desc="pack", unit=" media", disable=quiet, mininterval=1) as bar:
        for number, part in enumerate(plan):
            shards.append(_shard(out, f"shard-{number:06d}.tar", part, dataset, modality))
            bar.update(len(part))
    _clear(out, {name for s in shards for name in (s.file, s.index)})
    shard_index.write(out, Index(modality.name, tuple(dataset.classes), tuple(shards)))
    return len(entries), dict(dataset.bad)


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise MultigenError(f"--out {out}: is a file; give a folder")
    if out.is_dir() and any(p.name != LOCK for p in out.iterdir()) and not shard_index.is_ours(out):
        raise MultigenError(f"--out {out}: holds other files; give a new folder")


def _clear(out: Path, keep: set[str]) -> None:
    """Remove shards of an earlier, longer pack, and what a killed one left."""
    for path in out.iterdir():
        name = path.name.removeprefix(".")
        ours = name.startswith("shard-") and path.suffix in (".tar", ".jsonl", ".stamp")
        if ours and path.name not in keep and path.with_suffix(".tar").name not in keep:
            path.unlink()


# --- what is to be packed -------------------------------------------------------------------------------------


def _of_files(dataset: Folder) -> list[Entry]:
    entries = []
    for k, seconds in enumerate(dataset.durations()):
        path = dataset.source(k)
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        entries.append(Entry(k, dataset.told(k), path.suffix.lower(), seconds, None, stamp))
    return entries


def _of_set(recipe: Recipe, dataset: Dataset, modality: Modality) -> list[Entry]:
    """Every item as it is without augmentation, in the set's own split."""
    if isinstance(dataset, Files):
        raise MultigenError(f"data.name: {recipe.data.name} is packed already; copy its folder")
    suffix = _LOSSLESS.get(modality.name, modality.suffix)
    shape = modality.shape()
    seconds = 0.0 if modality.name == "image" else shape[1] / modality.shape(duration=1.0)[1]
    held = set(dataset.split()[1])
    settings = [recipe.data.name, dict(recipe.data.args), recipe.modality.name, dict(recipe.modality.args)]
    stamp = [int.from_bytes(hashlib.blake2b(json.dumps(settings).encode(), digest_size=6).digest(), "big")]
    empty = Told("", ("",), None)
    return [Entry(k, empty, suffix, seconds, k in held, stamp) for k in range(len(dataset))]


def _plan(dataset: Dataset, entries: Sequence[Entry], shard_bytes: int) -> list[list[Entry]]:
    """Entries in shards; a medium larger than a shard has one of its own."""
    if not entries:
        raise MultigenError("there are no media to pack")
    plan: list[list[Entry]] = [[]]
    room = shard_bytes
    # The media of a built-in set are made as they are packed; a byte a value is about the most that one takes.
    numel = 0 if isinstance(dataset, Files) else dataset[0]["media"].numel()
    for entry in entries:
        size = size_of(dataset.source(entry.index)) if isinstance(dataset, Files) else numel
        if plan[-1] and size > room:
            plan.append([])
            room = shard_bytes
        plan[-1].append(entry)
        room -= size
    return plan


# --- writing --------------------------------------------------------------------------------------------------


def _shard(out: Path, file: str, part: Sequence[Entry], dataset: Dataset, modality: Modality) -> Shard:
    """Write one shard and its index, unless they are there already."""
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
    """A shard that an earlier command finished, from the same media; None where it is to be written."""
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
            with opened(source) as file:
                members[entry.suffix] = _member(archive, target, key + entry.suffix, file, size)
        except OSError as error:
            raise TrainingError(
                f"{source}: changed while it was packed ({error}). Give the same command again."
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
    """What WebDataset's readers find beside a medium: captions, a line each, and all that is known."""
    if any(told.texts):
        yield ".txt", "\n".join(told.texts).encode()
    known: dict[str, object] = {"name": told.name, "texts": list(told.texts)}
    if told.label is not None:
        known |= {"label": told.label, "class": classes[told.label]}
    yield ".json", json.dumps(known, ensure_ascii=False).encode()


def _member(archive: tarfile.TarFile, target: BinaryIO, name: str, file: BinaryIO, size: int) -> Span:
    """Append `size` bytes of a file under a name that is ours; the same bytes whoever packs and when."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    offset = target.tell() + _HEADER
    counted = _Counted(file)
    archive.addfile(info, counted)
    if file.read(1):
        raise OSError("it has grown")
    return Span(offset=offset, size=size, crc32=counted.crc)


class _Counted(io.RawIOBase):
    """Passes on what it reads, and its CRC-32."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self.file, self.crc = file, 0

    def read(self, size: int = -1) -> bytes:
        content = self.file.read(size)
        self.crc = zlib.crc32(content, self.crc)
        return content


def _encoded(modality: Modality, media: object, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="multigen-pack-") as folder:
        path = Path(folder, f"medium{suffix}")
        modality.write(media, path)  # pyright: ignore[reportArgumentType]
        return path.read_bytes()
