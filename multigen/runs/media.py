"""Media that a command makes: written as they come, with a picture of each and a manifest."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.errors import TrainingError
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.recipe.dump import to_data
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import file_name, write_manifest
from multigen.recipe.manifest import read as read_manifest
from multigen.recipe.schema import Recipe
from multigen.runs.folders import new_folder
from multigen.storage.files import write_json

_PREVIEW = 256  # pixels; the longest side of an animated preview

log = logging.getLogger(__name__)

# Begins to make media, and reports the network calls.
# MultigenError for a request that cannot be met, before anything is made.
Start = Callable[[Progress], Iterable[Media]]


def make_media(
    model: Model,
    folder: Path,
    start: Start,
    *,
    total: int,
    steps: int | None = None,
    each: Sequence[Mapping[str, Any]] = (),
    quiet: bool = False,
) -> list[Path]:
    """Write `total` media into `folder`/media, with a picture of each, and a manifest; the files.

    steps  for the manifest, where they are not the recipe's
    each   how each medium was made, where that is not the recipe's way; read when all of them are there

    Earlier media move to `folder`/media-N; they stay in place where a new one cannot be made. TrainingError for
    media whose numbers are not finite, or that cannot be written.
    """
    final, partial = folder / "media", folder / ".media.partial"
    made: list[Media] = []
    rows: list[dict[str, Any]] = []
    with Progress("sample", total, quiet=quiet) as progress:
        media = start(progress)
        log.info("%s: %d media on %s", model.recipe.name, total, model.facts["device"])
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for index, medium in enumerate(media):
            progress.advance()
            rows.append(_save(model, medium, index, partial, final))
            made.append(medium)
    _set_aside(folder)
    partial.rename(final)
    model.modality.preview([m.tensor for m in made[:64]]).save(folder / "preview.png")
    rows = [{**row, **how} for row, how in zip(rows, each, strict=True)] if each else rows
    how = sampling_facts(model.recipe, steps)
    write_manifest(folder, rows, recipe=model.recipe, weights_hash=model.weights_hash(), settings=how)
    return [folder / row["file"] for row in rows]


def _save(model: Model, medium: Media, index: int, partial: Path, final: Path) -> dict[str, Any]:
    """Write one medium and its pictures; its row in the manifest."""
    suffix = model.recipe.sample.suffix or model.modality.suffix
    name = file_name(index, medium.prompt, medium.seed, suffix)
    if not medium.tensor.isfinite().all():
        raise TrainingError(
            f"{final / name}: not written, its numbers are not finite; a lower guidance scale or more steps may help"
        )
    try:
        medium.save(partial / name)
        _save_pictures(model, medium, partial, Path(name).stem)
    except OSError as error:
        raise TrainingError(f"{final / name}: could not be written ({error})") from error
    verdict = model.judge(medium.prompt)
    novelty = {} if verdict is None else {"novelty": verdict.novelty}
    return {"file": f"media/{name}", "prompt": medium.prompt, "seed": medium.seed, **novelty}


def _save_pictures(model: Model, medium: Media, folder: Path, stem: str) -> None:
    """A picture of one medium beside it, and an animated preview where the modality has one."""
    modality = model.modality
    # An edit has the rate and size of its source.
    seen = medium.modality.convert(medium.tensor, modality)
    if modality.suffix != ".png":
        modality.preview([seen]).save(folder / f"{stem}.png")
    if modality.animation:
        modality.write(_small(seen, modality), folder / f"{stem}{modality.animation}")


def _small(media: Tensor, modality: Modality) -> Tensor:
    """Frames [C, T, H, W] of at most the preview's size."""
    sides = media.shape[-2:]
    scale = _PREVIEW / max(sides)
    if scale >= 1:
        return media
    return modality.fit(media, (*media.shape[:-2], *(max(1, round(n * scale)) for n in sides)))


def sampling_facts(recipe: Recipe, steps: int | None) -> dict[str, Any]:
    """How media were sampled, for a manifest; nothing where a codec made them."""
    if recipe.trains == "codec":
        return {}
    plain = to_data(recipe)
    how = {key: plain[key] for key in ("sampler", "timesteps", "guide", "modifiers", "loras")}
    return how | {"steps": steps or recipe.sample.steps, "polish": plain["sample"]["polish"]}


def _set_aside(folder: Path) -> None:
    """Keep earlier media, and the manifest that describes them, as media-N."""
    media, manifest = folder / "media", read_manifest(folder)
    if not media.exists():
        return
    kept = new_folder(media)
    media.replace(kept)
    if manifest is not None:
        files = [{**entry, "file": Path(entry["file"]).name} for entry in manifest["files"]]
        write_json(kept / MANIFEST, {**manifest, "files": files})
