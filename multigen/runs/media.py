"""Media that a command makes: written as they come, with a picture of each and a manifest."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.errors import MediaError, MediaInterrupted, TrainingError
from multigen.generation.batching import Batcher
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.provenance.made import Made as HowMade
from multigen.provenance.marking import mark_picture
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import read as read_manifest
from multigen.runs.folders import new_folder
from multigen.runs.media_set import MediaSet, conflict
from multigen.storage.files import atomic, write_json
from multigen.training.signals import Stop, signals

log = logging.getLogger(__name__)

PREVIEW = "preview.png"
_SHOWN = 64  # media in the preview
_FEW = 4  # media under way on a CPU: more take as long each


class Made(NamedTuple):
    """One finished medium: its place among all, how it was made where that is not the recipe's way, its own path.

    row  its entry, where it is written already
    """

    place: int
    medium: Media | None
    how: Mapping[str, Any] = {}
    name: str | None = None
    row: Mapping[str, Any] | None = None


# Begins to make media, but for those at the places that are there, and reports the network calls.
# MultigenError for a request that cannot be met, before anything is made.
Start = Callable[[Progress, frozenset[int]], Iterable[Made]]


def make_media(kept: MediaSet, model: Model, start: Start, *, quiet: bool = False) -> list[Path]:
    """Make those of the media of a set that are not there yet, each written when it is finished; all files.

    MediaInterrupted after SIGINT or SIGTERM; a second signal acts at once. TrainingError for media whose numbers are
    not finite, or that cannot be written. Whatever ends it, what is finished stays, and the manifest says what.
    """
    if kept.complete:
        log.info("all %d media are there: %s", kept.total, kept.folder)
        return kept.files
    if kept.there:
        log.info("%d of %d media are there; going on: %s", kept.done, kept.total, kept.folder)
    with Progress("sample", kept.total, quiet=quiet) as progress:
        progress.advance(kept.done)
        made = start(progress, kept.there)
        log.info("%s: %d media on %s", model.recipe.name, kept.total - kept.done, model.facts["device"])
        with _saved(kept), signals() as caught:
            source = iter(made)
            try:
                while True:
                    with caught.interrupting():
                        found = next(source, None)
                    if found is None:
                        break
                    if found.row is not None:
                        kept.accept(found.place, found.row)
                    elif found.medium is not None:
                        kept.add(found.place, found.medium, found.how, name=found.name)
                    progress.advance()
            except Stop:
                raise MediaInterrupted(caught[0], kept.done, kept.total, kept.folder / "media") from None
    return kept.files


@contextmanager
def _saved(kept: MediaSet) -> Iterator[None]:
    """Write the manifest however the block ends; a fault says where the finished media are."""
    try:
        yield
    except TrainingError as error:
        if kept.done:
            place = f"{kept.done} of {kept.total} are in {kept.folder}; go on with --resume"
            raise type(error)(f"{error}. {place}") from error
        raise
    finally:
        kept.save()


def under_way(model: Model) -> int:
    """How many media a command makes side by side: the recipe's `sample.batch`, and on a CPU only a few of them.

    Media of one batch are finished together, so that a command that is stopped loses what was done for all of them. A
    CPU is as quick with few (measured: 4 as 16), a GPU is not.
    """
    batch = model.recipe.sample.batch
    return min(batch, max(_FEW, torch.get_num_threads())) if model.device.type == "cpu" else batch


def batched(
    batcher: Batcher,
    progress: Progress,
    there: frozenset[int],
    how: Callable[[int], Mapping[str, Any]] = lambda _: {},
) -> Iterator[Made]:
    """The media of a batcher as they end, but for those that are there; `how` each was made, by its place."""
    for place in there:
        batcher.cancel(place)
    progress.expect(batcher.calls, len(batcher.jobs))
    progress.called(round((batcher.calls or 0) * len(there) / max(len(batcher.jobs), 1)))
    return (Made(place, medium, how(place)) for place, medium in batcher)


def write_preview(kept: MediaSet, model: Model) -> None:
    """Draw the first media of a set as one picture, from their files."""
    tensors: list[Tensor] = []
    for path in kept.files[:_SHOWN]:
        try:
            tensors.append(model.modality.read(path))
        except MediaError as error:
            log.warning("not in the preview: %s", error)
    if tensors:
        with atomic(kept.folder / PREVIEW) as temporary:
            model.modality.preview(tensors).save(temporary)
            edited, sign = kept.asked.get("command") == "edit", model.recipe.provenance.sign
            mark_picture(temporary, HowMade(model.recipe.name, model.known_hash(), sign, edited=edited))


def set_aside(folder: Path, asked: Mapping[str, Any]) -> None:
    """Keep media of another command, and the manifest that describes them, as media-N, and say so."""
    media, manifest = folder / "media", read_manifest(folder)
    if not media.exists() or conflict(folder, asked) is None:
        return
    kept = new_folder(media)
    media.replace(kept)
    if manifest is not None:
        files = [{**one, "file": Path(one["file"]).name} for one in manifest["files"]]
        write_json(kept / MANIFEST, {**manifest, "files": files})
        (folder / MANIFEST).unlink()
    log.info("%s: the media of before are now in %s", folder, kept)
