"""The media of one command: each is written when it is finished, with its entry in the manifest.

A command that was stopped, by a signal, an error or a power cut, leaves what was finished. The same command goes on
with the rest.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.errors import MultigenError, TrainingError, reason
from multigen.marks.media import key_for, marked
from multigen.modalities import Modality
from multigen.modalities.flag import flagged
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.provenance.marking import mark_picture
from multigen.provenance.signing import check_format, signer_for
from multigen.recipe.dump import to_data
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import common_facts, entry, fault, file_name, write_entries
from multigen.recipe.manifest import read as read_manifest
from multigen.recipe.paths import RECIPE
from multigen.recipe.schema import Recipe
from multigen.recipe.students import student_of
from multigen.runs.asked import STAGES, differences, listed
from multigen.storage.claim import Claim
from multigen.storage.files import remove_leftovers, sha256

log = logging.getLogger(__name__)

# Names in a result folder that a command which makes media would replace.
OURS = ("media", MANIFEST, "preview.png", "sampled.yaml", "report.html", "trajectories")
# The manifest is written again as soon as that takes less than this share of the time.
_SHARE = 0.1
_PREVIEW = 256  # pixels; the longest side of an animated preview


class MediaSet:
    """The media of a command in its folder.

    asked   what the command asks for (`runs.asked`); the same for a command that goes on with it
    total   how many media it makes
    begin   writes what the folder holds beside the media, before the first of them
    on_save is called when the manifest has been written
    there   places of the media that an earlier command finished: their files verify

    MultigenError if the folder holds media of another command, each difference listed.
    """

    def __init__(
        self,
        model: Model,
        claim: Claim,
        asked: Mapping[str, Any],
        total: int,
        *,
        steps: int | None = None,
        begin: Callable[[], None] | None = None,
        on_save: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.asked, self.total = claim.folder, asked, total
        self._claim, self._model, self._first = claim, model, begin
        self._common: dict[str, Any] | None = None
        self._steps, self._on_save = steps, on_save
        sign = model.recipe.provenance.sign  # refused before anything is made
        signer_for(sign)
        check_format(sign, model.recipe.sample.suffix or model.modality.suffix)
        self._entries = _finished(self.folder, asked)
        self.there = frozenset(self._entries)
        self._saved, self._took = 0.0, 0.0

    @property
    def done(self) -> int:
        """How many media are finished."""
        return len(self._entries)

    @property
    def complete(self) -> bool:
        """Whether all media are finished."""
        return self.done >= self.total

    @property
    def files(self) -> list[Path]:
        """The files of the finished media, by their places."""
        return [self.folder / row["file"] for _, row in sorted(self._entries.items())]

    def name(self, place: int, medium: Media) -> str:
        """The path of a medium in the folder."""
        return default_name(self._model, place, medium)

    def add(self, place: int, medium: Media, how: Mapping[str, Any], *, name: str | None = None) -> None:
        """Write a finished medium, and its entry.

        how   how it was made, where that is not the recipe's way
        name  its path in the folder, by default in media/; one with a name of its own has no picture beside it

        TrainingError if its numbers are not finite, or if it cannot be written.
        """
        pictures, name = name is None, name or self.name(place, medium)
        check_finite(medium, self.folder / name)  # before there is a folder
        common = self.begin()
        row = write_medium(self._model, self.folder, name, place, medium, how, common, pictures=pictures)
        self.accept(place, row)

    def accept(self, place: int, row: Mapping[str, Any]) -> None:
        """Take in the entry of a medium that is written."""
        self._entries[place] = dict(row)
        if time.monotonic() - self._saved > self._took / _SHARE:
            self.save()

    def save(self) -> None:
        """Write the manifest of what is finished, if there is anything."""
        if not self._entries and self._common is None:
            return
        began = time.monotonic()
        rows = [row for _, row in sorted(self._entries.items())]
        write_entries(self.folder, rows, asked=self.asked, total=self.total)
        if self._on_save is not None:
            self._on_save()
        self._saved = time.monotonic()
        self._took = self._saved - began

    def begin(self) -> dict[str, Any]:
        """The folder with a manifest, before the first medium: so that it is known whose media these are.

        What all entries share.
        """
        if self._common is None:
            self._make_folder()
            how = sampling_facts(self._model.recipe, self._steps)
            how |= {STAGES: self.asked[STAGES]} if STAGES in self.asked else {}
            self._common = common_facts(self._model.recipe, self._model.known_hash(), how)
        return self._common

    def _make_folder(self) -> None:
        self._claim.keep()
        if self._first is not None:
            self._first()
        remove_leftovers(self.folder / "media")
        rows = [row for _, row in sorted(self._entries.items())]
        write_entries(self.folder, rows, asked=self.asked, total=self.total)


def default_name(model: Model, place: int, medium: Media) -> str:
    """The path of a medium in its folder."""
    suffix = model.recipe.sample.suffix or model.modality.suffix
    return f"media/{file_name(place, medium.prompt, medium.seed, suffix)}"


def check_finite(medium: Media, path: Path) -> None:
    """TrainingError for a medium whose numbers are not finite."""
    if not medium.tensor.isfinite().all():
        raise TrainingError(
            f"{path}: not written, its numbers are not finite; a lower guidance scale or more steps may help"
        )


def write_medium(
    model: Model,
    folder: Path,
    name: str,
    place: int,
    medium: Media,
    how: Mapping[str, Any],
    common: Mapping[str, Any],
    *,
    pictures: bool = True,
) -> dict[str, Any]:
    """Write a finished medium, whose numbers are finite, with a picture of it; its entry.

    how     how it was made, where that is not the recipe's way
    common  what all entries share

    TrainingError if it cannot be written.
    """
    path = folder / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Media with names of their own are a set to train on; a codec shows the user's media beside its copies.
        plain = not pictures or model.recipe.trains == "codec"
        saved = medium if plain else marked(medium, key_for(model.recipe.watermark))
        unsigned = saved.write(path)
        if pictures:
            _save_pictures(model, medium, path)
    except OSError as error:
        raise TrainingError(f"{path}: could not be written ({reason(error)})") from error
    verdict = model.judge(medium.prompt)
    novelty = {} if verdict is None else {"novelty": verdict.novelty}
    row = {"file": name, "prompt": medium.prompt, "seed": medium.seed, "unsigned_sha256": unsigned}
    mark = {} if saved is medium else {"watermark": True}
    near = {} if medium.near is None else {"copies": dataclasses.asdict(medium.near)}
    return entry(
        folder, {**row, **mark, **novelty, **flagged(medium.flags), **near, **how, "place": place}, common
    )


def _finished(folder: Path, asked: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Entries by place of the media that a command which asked the same has finished in a folder."""
    if (rows := conflict(folder, asked)) is not None:
        raise MultigenError(
            f"{folder}: it holds media of another command ({listed(rows)}). Nothing is replaced: give another folder "
            "with --out."
        )
    manifest = read_manifest(folder)
    found = {}
    for one in manifest["files"] if manifest else []:
        if (wrong := fault(folder, one)) is None:
            found[int(one["place"])] = one
        else:
            log.warning("%s: made again: %s", folder, wrong)
    return found


def conflict(folder: Path, asked: Mapping[str, Any]) -> list[str] | None:
    """Why a command cannot write its media into a folder: how those that are there differ; None if it can."""
    manifest = read_manifest(folder)
    if manifest is None:
        ours = ("media",) if (folder / RECIPE).is_file() else OURS  # a training has a report, too
        strange = [name for name in ours if (folder / name).exists()]
        return [f"{name} is not from multigen" for name in strange] or None
    if not isinstance(manifest.get("asked"), dict):
        return ["its manifest does not say what was asked for"]
    return differences(manifest["asked"], asked) or None


def unfinished(folder: Path) -> bool:
    """Whether a command was stopped in a folder before it had made all of its media."""
    manifest = read_manifest(folder)
    return manifest is not None and len(manifest["files"]) < int(manifest.get("total") or 0)


def sampling_facts(recipe: Recipe, steps: int | None) -> dict[str, Any]:
    """How media were sampled, for a manifest; nothing where a codec made them."""
    if recipe.trains == "codec":
        return {}
    plain = to_data(recipe)
    how = {key: plain[key] for key in ("sampler", "timesteps", "guide", "modifiers", "loras")}
    how |= {"shrunk": plain["shrunk"]} if recipe.shrunk is not None else {}
    cache = {} if recipe.sample.cache is None else {"cache": plain["sample"]["cache"]}
    if (student := student_of(recipe)) is not None:
        how["fast"] = {"student": f"{student.parent.name}/{student.name}", "sha256": sha256(student)}
    return how | {"steps": steps or recipe.sample.steps, "polish": plain["sample"]["polish"], **cache}


def _save_pictures(model: Model, medium: Media, path: Path) -> None:
    """A picture of one medium beside it, and an animated preview where the modality has one."""
    modality = model.modality
    # An edit has the rate and size of its source.
    seen = medium.modality.convert(medium.tensor, modality)
    if modality.suffix != ".png":
        modality.preview([seen]).save(path.with_suffix(".png"))
    if modality.animation:
        modality.write(_small(seen, modality), path.with_suffix(modality.animation))
    suffixes = {".png", modality.animation} - {"", path.suffix}
    if (made := medium.made) is not None:
        for beside in [path.with_suffix(suffix) for suffix in sorted(suffixes)]:
            if beside.is_file():
                mark_picture(beside, made)


def _small(media: Tensor, modality: Modality) -> Tensor:
    """Frames [C, T, H, W] of at most the preview's size."""
    sides = media.shape[-2:]
    scale = _PREVIEW / max(sides)
    if scale >= 1:
        return media
    return modality.fit(media, (*media.shape[:-2], *(max(1, round(n * scale)) for n in sides)))
