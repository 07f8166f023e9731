"""A run folder: making media in it, and reporting on it.

recipe.yaml · log.jsonl · checkpoints/ · weights.safetensors · previews/ · media/ · manifest.json · preview.png ·
report.html
"""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from multigen.core.drive import Progress
from multigen.errors import MediaError, MultigenError, TrainingError
from multigen.evaluation import tables as evaluation
from multigen.evaluation.nearness import PAIRS
from multigen.evaluation.report import write_report
from multigen.evaluation.style import SHEET
from multigen.storage.files import write_json
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import file_name, inside, write_manifest
from multigen.recipe.manifest import read as read_manifest
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.recipe.schema import Recipe
from multigen.recipe.dump import to_data, to_yaml
from multigen.training import log as training_log
from multigen.training.heldout import LEVELS

log = logging.getLogger(__name__)

TRACES = "trajectories"  # how media came about, where that was asked for

# Media as they are made; what it is given sees every answered query on the way.
Stream = Callable[[Callable[[Progress], None]], Iterable[Media]]


def make(
    model: Model,
    folder: Path,
    stream: Stream,
    *,
    total: int,
    steps: int | None = None,
    each: Sequence[Mapping[str, Any]] = (),
    quiet: bool = False,
) -> list[Path]:
    """Write `total` media, as they come, into `folder`/media with a picture of each and a manifest.

    Older media are kept aside; they stay as they are where one cannot be made (TrainingError). `steps` that were asked
    for in place of the recipe's, and how `each` medium was made where that is not the recipe's way, are for the
    manifest; `each` is read when all are made.
    """
    suffix = model.recipe.sample.suffix or model.modality.suffix
    final, partial = folder / "media", folder / ".media.partial"
    made: list[Media] = []
    rows: list[dict[str, Any]] = []
    with tqdm(total=total, desc="sample", unit=" media", disable=quiet, mininterval=1) as bar:

        def watch(progress: Progress) -> None:
            bar.set_postfix_str(f"query {progress.queries} of this batch")

        try:
            media = stream(watch)  # what is wrong with a request is said before anything is written
        except MultigenError:
            bar.leave = False
            raise
        log.info("%s: %d media on %s", model.recipe.name, total, model.facts["device"])
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for index, medium in enumerate(media):
            bar.update(1)
            name = file_name(index, medium.prompt, medium.seed, suffix)
            if not medium.tensor.isfinite().all():
                raise TrainingError(
                    f"{final / name}: was not made, its numbers are not finite; a weaker guide or more steps may help"
                )
            try:
                medium.save(partial / name)
                _pictures(model, medium, partial, Path(name).stem)
            except OSError as error:
                raise TrainingError(f"{final / name}: could not be written ({error})") from error
            made.append(medium)
            rows.append({"file": f"media/{name}", "prompt": medium.prompt, "seed": medium.seed})
    _set_aside(folder)
    partial.rename(final)
    model.modality.preview([m.tensor for m in made[:64]]).save(folder / "preview.png")
    rows = [{**row, **how} for row, how in zip(rows, each, strict=True)] if each else rows
    how = settings(model.recipe, steps)
    write_manifest(folder, rows, recipe=model.recipe, weights_hash=model.weights_hash(), settings=how)
    return [folder / row["file"] for row in rows]


def settings(recipe: Recipe, steps: int | None) -> dict[str, Any]:
    """How the media were sampled; nothing where a codec made them."""
    if recipe.backbone is None:
        return {}
    plain = to_data(recipe)
    how = {key: plain[key] for key in ("sampler", "timesteps", "guide", "modifiers", "loras")}
    return how | {"steps": steps or recipe.sample.steps, "polish": plain["sample"]["polish"]}


def _pictures(model: Model, medium: Media, folder: Path, stem: str) -> None:
    """A picture of one medium beside it, and an animated preview where the modality has one."""
    modality = model.modality
    if modality.suffix != ".png":
        modality.preview([medium.tensor]).save(folder / f"{stem}.png")
    if modality.animation:
        modality.write(medium.tensor, folder / f"{stem}{modality.animation}")


def report(model: Model, folder: Path, bad: dict[str, str]) -> Path:
    """Write report.html from what the run folder holds."""
    manifest = read_manifest(folder)
    files = manifest["files"] if manifest else []
    media = []
    for entry in files:
        path = inside(folder, entry["file"])
        if path is None:  # a name that leads out of the folder: somebody else's manifest
            continue
        row: dict[str, Any] = dict(entry)
        picture = path.with_suffix(".png")
        if picture != path and picture.is_file():
            row["preview"] = str(picture)
        try:
            row["html"] = model.modality.html(model.modality.read(path))
        except MediaError as error:
            log.warning("not in the report: %s", error)
        media.append(row)
    rows = training_log.read(folder)
    held_out = [r["held_out"] for r in rows if "held_out" in r]
    known = {str(level) for level in LEVELS}
    levels = {float(k): v for k, v in held_out[-1].items() if k in known} if held_out else {}
    found = evaluation.read(folder)
    pictures = {p.stem: p for p in sorted((folder / "previews").glob("step-*.png"))[-4:]}
    if found is not None:
        pictures["closest pairs of a sample and a training item"] = folder / PAIRS
        if "style" in found:
            pictures["the base alone, and with what the tuning added, from the same noise"] = folder / SHEET
    charts = _traced(folder, pictures)
    return write_report(
        folder,
        title=model.recipe.name,
        recipe_yaml=to_yaml(model.recipe),
        log=rows,
        media=media,
        bad_media=bad,
        facts=model.facts,
        held_out_by_level=sorted(levels.items()),
        trained="training loss" if model.recipe.train.huber is None else "training loss, by train.huber",
        tables=None if found is None else evaluation.tables(found),
        bars=() if found is None else evaluation.bars(found),
        pictures=pictures,
        guidance=charts,
    )


def _traced(folder: Path, pictures: dict[str, Path]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Adds the pictures of traces; the strength of guidance at each t, by the trace's name."""
    names = {
        "noisy.png": "what the network saw",
        "clean.png": "x0 as it was seen then",
        "clip.webp": "both, query by query",
        "attention.png": "attention to words",
    }
    charts = []
    for path in sorted((folder / TRACES).glob("*.json")):
        for kind, about in names.items():
            picture = path.with_name(f"{path.stem}-{kind}")
            if picture.is_file():
                pictures[f"trajectory {path.stem}: {about}"] = picture
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            charts.append((path.stem, list(zip(found["times"], found["guidance"], strict=False))))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return charts


def new_folder(base: Path) -> Path:
    """Make base-1, or base-2 ...: the first that is not there, so that two commands never share one."""
    for k in itertools.count(1):
        folder = base.with_name(f"{base.name}-{k}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
    raise AssertionError


def _set_aside(folder: Path) -> None:
    """Keep older media, and the manifest that describes them, as media-N."""
    media, manifest = folder / "media", read_manifest(folder)
    if not media.exists():
        return
    kept = new_folder(media)
    media.replace(kept)
    if manifest is not None:
        files = [{**entry, "file": Path(entry["file"]).name} for entry in manifest["files"]]
        write_json(kept / MANIFEST, {**manifest, "files": files})
