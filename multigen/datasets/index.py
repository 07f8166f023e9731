"""The index of a folder of shards: place, size and checksum of each member, captions and labels.

index.json names the shards (size, sha256, samples); shard-000000.jsonl has one line for each sample of
shard-000000.tar. The tars follow WebDataset's convention: the members 00000017.png, 00000017.txt (one caption per line)
and 00000017.json are one sample. Their content is data; a name in them is never used as a path on this machine.
"""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from multigen.errors import RecipeError, reason
from multigen.storage.files import sha256, write_json

FILE = "index.json"
FORMAT, VERSION = "multigen shards", 1
SHARD = re.compile(r"shard-\d{6}\.tar")
_BLOCK = 1024**2


class Span(BaseModel):
    """A range of bytes in a shard, and their CRC-32."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    offset: int = Field(ge=0, lt=2**62)
    size: int = Field(ge=0, lt=2**62)
    crc32: int = Field(ge=0, lt=2**32)


class Sample(BaseModel):
    """One line of a shard's index.

    suffix    of the medium
    seconds   duration; 0 for pictures
    held_out  side of the split, if the packed set has a split of its own
    members   spans of the sample's files by suffix
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    name: str
    suffix: str = Field(pattern=r"^\.[a-z0-9]+$")
    seconds: float = Field(ge=0, allow_inf_nan=False)
    texts: list[str] = Field(min_length=1)
    label: int | None = Field(default=None, ge=0)
    held_out: bool | None = None
    members: dict[str, Span]

    @property
    def medium(self) -> Span:
        """Where the medium itself lies."""
        return self.members[self.suffix]


@dataclass(frozen=True)
class Shard:
    """A tar and its index, as index.json describes them.

    size          bytes of the tar
    sha256        of the tar
    samples       how many there are
    index_sha256  of the index
    """

    file: str
    size: int
    sha256: str
    samples: int
    index_sha256: str

    @property
    def index(self) -> str:
        """File name of the index."""
        return index_name(self.file)


@dataclass(frozen=True)
class Index:
    """The content of index.json."""

    modality: str
    classes: tuple[str, ...]
    shards: tuple[Shard, ...]


def index_name(shard: str) -> str:
    """File name of a shard's index: shard-000000.tar -> shard-000000.jsonl."""
    return shard.removesuffix(".tar") + ".jsonl"


def _digest(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def write(folder: Path, index: Index | None, made_from: str = "") -> None:
    """Write index.json; None records that packing has started but is not finished.

    made_from   what is packed, as a hash: shards are passed on, and name no folder of this machine
    """
    value: dict[str, Any] = {"format": FORMAT, "version": VERSION, "complete": index is not None}
    value["made_from"] = made_from
    if index is not None:
        value |= {"modality": index.modality, "classes": list(index.classes)}
        value["shards"] = [vars(shard) for shard in index.shards]
    write_json(folder / FILE, {**value, "sha256": _digest(value)})


def is_ours(folder: Path) -> bool:
    """Whether `multigen pack` has written to this folder before."""
    try:
        value = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("format") == FORMAT


def source_of(folder: Path) -> str | None:
    """What was packed into a folder, as a hash; None where that is not recorded."""
    try:
        return json.loads((folder / FILE).read_text(encoding="utf-8")).get("made_from") or None
    except (OSError, ValueError, AttributeError):
        return None


def read(folder: Path) -> Index:
    """Read index.json. RecipeError if it is missing, damaged, unfinished or of another version."""
    path = folder / FILE
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecipeError(
            f"{folder}: there is no {FILE} in it; make shards with: multigen pack SOURCE --out {folder}"
        ) from None
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read ({reason(error)})") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise RecipeError(f"{path}: is not an index of shards that multigen packed")
    if value.get("version") != VERSION:
        raise RecipeError(f"{path}: version {value.get('version')!r}; this multigen reads version {VERSION}")
    if value.pop("sha256", None) != _digest(value):
        raise RecipeError(f"{path}: damaged; its checksum does not match")
    if value.get("complete") is not True:
        raise RecipeError(f"{folder}: packing was not finished; run the same multigen pack command again")
    try:
        shards = tuple(Shard(**row) for row in value["shards"])
        index = Index(value["modality"], tuple(map(str, value["classes"])), shards)
    except (KeyError, TypeError) as error:
        raise RecipeError(f"{path}: incomplete ({reason(error)})") from None
    for shard in shards:
        if not SHARD.fullmatch(str(shard.file)):
            raise RecipeError(f"{path}: {shard.file!r} is not the name of a shard")
    return index


def parse(line: bytes, where: str) -> Sample:
    """Parse one line of a shard's index; `where` names it in the RecipeError for a damaged line."""
    try:
        sample = Sample.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RecipeError(f"{where}: damaged ({place}: {first['msg']})") from None
    if sample.suffix not in sample.members:
        raise RecipeError(f"{where}: damaged (no member {sample.suffix})")
    return sample


def faults(folder: Path) -> list[str]:
    """What differs from what was packed: shards that are missing, truncated or changed, and the members concerned."""
    found = []
    for shard in read(folder).shards:
        tar, lines = folder / shard.file, folder / shard.index
        absent = [p for p in (tar, lines) if not p.is_file()]
        if absent:
            found += [f"{p}: missing" for p in absent]
            continue
        if sha256(lines) != shard.index_sha256:
            found.append(f"{lines}: changed")
            continue
        if tar.stat().st_size == shard.size and sha256(tar) == shard.sha256:
            continue
        if tar.stat().st_size != shard.size:
            found.append(f"{tar}: {tar.stat().st_size:,} bytes, not {shard.size:,}")
        hit = _members(tar, lines)
        found += hit or [f"{tar}: changed outside its members"]
    return found


def _members(tar: Path, lines: Path) -> list[str]:
    """The members whose bytes have changed."""
    hit = []
    with tar.open("rb") as file, lines.open("rb") as rows:
        for line in rows:
            sample = parse(line, str(lines))
            for suffix, span in sample.members.items():
                if checksum(file, span.offset, span.size) != span.crc32:
                    hit.append(f"{tar}/{sample.name}: its {suffix} is damaged or truncated")
    return hit


def checksum(file: Any, offset: int, size: int) -> int | None:
    """CRC-32 of a span of an open file; None if the file ends inside the span."""
    file.seek(offset)
    crc, left = 0, size
    while left:
        content = file.read(min(left, _BLOCK))
        if not content:
            return None
        crc, left = zlib.crc32(content, crc), left - len(content)
    return crc
