"""Reference features: features of real media, computed once per dataset and kept in the cache.

A reference records which extractor made it and of which media, and is compared only with features made the same way.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from multigen.datasets import Item
from multigen.errors import MultigenError, reason
from multigen.evaluation.distances import Moments, moments
from multigen.evaluation.features import Facts, Feature, extract
from multigen.modalities import Modality
from multigen.modalities.pace import per_second
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import atomic

log = logging.getLogger(__name__)

_FORMAT = "multigen reference 1"


class IndexedMedia(Protocol):
    """What features are computed of: a dataset, a `MediaSet`, a `MediaFolder`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Item: ...


@dataclass(frozen=True)
class Reference:
    """Features of a set of media, and what must agree for a comparison.

    features  [n, K, width] float32: K embeddings per medium
    facts     of the extractor
    media     what `media_kind` says about the media
    dataset   description for the reader of a result
    content   `content_hash` of the media
    """

    features: Tensor
    facts: Facts
    media: str
    dataset: str
    content: str

    @property
    def count(self) -> int:
        """Number of media (not of embeddings)."""
        return len(self.features)

    @property
    def rows(self) -> Tensor:
        """[n * K, width]: every embedding as a row, as the distances take them."""
        return self.features.flatten(0, 1)

    def moments(self) -> Moments:
        """Mean and covariance of all embeddings."""
        return moments(self.rows)

    def check(self, facts: Facts, media: str) -> None:
        """MultigenError unless features with these facts, of such media, can be compared with this reference."""
        check_same(self.facts, facts)
        if self.media != media:
            raise MultigenError(
                f"the reference ({self.dataset}) was made of {self.media}, not of {media}: "
                "use media of one size and rate for both sets."
            )


def check_same(a: Facts, b: Facts) -> None:
    """MultigenError that names both extractors and their differences, unless all facts are equal."""
    if a == b:
        return
    x, y = asdict(a), asdict(b)
    apart = [f"{f.name} {x[f.name]!r} and {y[f.name]!r}" for f in fields(Facts) if x[f.name] != y[f.name]]
    raise MultigenError(
        f"features of {a.name} ({a.id}) and of {b.name} ({b.id}) cannot be compared; they differ in "
        f"{', '.join(apart)}. Use one extractor for both sets."
    )


def media_kind(modality: Modality, shape: tuple[int, ...]) -> str:
    """Modality, shape and, for media with time, the rate in Hz or frames/s: "audio 1x44100 at 22050 a second"."""
    rate = per_second(modality)
    size = "x".join(map(str, shape))
    return f"{modality.name} {size} at {rate:g} a second" if rate else f"{modality.name} {size}"


def content_hash(dataset: IndexedMedia, indices: Sequence[int]) -> str:
    """Hex sha256 of the media in this order: type, shape and values; names and labels do not count."""
    digest = hashlib.sha256()
    for index in indices:
        media = dataset[index]["media"].detach().cpu().contiguous()
        digest.update(f"{media.dtype} {tuple(media.shape)};".encode())
        digest.update(media.numpy().tobytes())
    return digest.hexdigest()


def reference(
    feature: Feature,
    dataset: IndexedMedia,
    indices: Sequence[int],
    *,
    modality: Modality,
    name: str,
    batch: int = 16,
    device: torch.device | str = "cpu",
    cache: bool = True,
) -> Reference:
    """Features of the media at `indices`.

    name   description of the set for the reader of a result
    batch  media per call of the extractor
    cache  read and write the folder `references` of the cache; its key is the content of the media, the extractor's
           facts, the kind and the number of media. A damaged file is made again

    MultigenError if there are no media, or if they differ in shape.
    """
    if not indices:
        raise MultigenError(f"{name}: there are no media to make a reference of.")
    content = content_hash(dataset, indices)
    media = media_kind(modality, tuple(dataset[indices[0]]["media"].shape))
    key = hashlib.sha256(
        f"{_FORMAT} {content} {feature.facts.id} {media} {len(indices)}".encode()
    ).hexdigest()
    path = cache_folder("references") / f"{key[:32]}.safetensors" if cache else None
    if path is not None and path.is_file():
        try:
            found = load(path)
            if (found.content, found.facts, found.media) == (content, feature.facts, media):
                return found
            log.warning("%s belongs to another set; it is made again", path)
        except MultigenError as error:
            log.warning("%s; it is made again", error)
    features = extract(feature, (dataset[i]["media"] for i in indices), batch=batch, device=device)
    made = Reference(features, feature.facts, media, name, content)
    if path is not None:
        save(made, path)
    return made


def save(made: Reference, path: Path) -> None:
    """Write a reference as safetensors, atomically; the header holds facts and checksum."""
    features = made.features.float().cpu().contiguous()
    header = {
        "format": _FORMAT,
        "facts": json.dumps(asdict(made.facts)),
        "media": made.media,
        "dataset": made.dataset,
        "content": made.content,
        "sha256": _digest(features),
    }
    with atomic(path) as temporary:
        save_file({"features": features}, temporary, metadata=header)


def load(path: Path) -> Reference:
    """Read a reference. MultigenError if the file is missing, damaged, or not a reference of this format."""
    if not path.is_file():
        raise MultigenError(f"{path}: there is no such reference file")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != _FORMAT:
                raise MultigenError(f"{path}: not a reference of the format {_FORMAT!r}")
            features = file.get_tensor("features")
        facts = Facts(**json.loads(header["facts"]))
        made = Reference(features, facts, header["media"], header["dataset"], header["content"])
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise MultigenError(f"{path}: the reference cannot be read ({reason(error)})") from error
    if features.ndim != 3 or features.shape[2] != facts.width or _digest(features) != header["sha256"]:
        raise MultigenError(f"{path}: the reference is damaged (its checksum or its shape does not match)")
    return made


def _digest(features: Tensor) -> str:
    return hashlib.sha256(features.numpy().tobytes()).hexdigest()
