"""How far an adapter moves what a model makes towards its tuning media, for prompts that these never showed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.evaluation import distances
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.metrics import Wanted
from multigen.evaluation.sets import MediaSet, Pool, generated, real
from multigen.modalities import Modality
from multigen.model.model import Model
from multigen.progress import Progress

SHEET = "evaluation-style.png"
_SHOWN = 16  # media of each side in the picture


def measure_style(
    model: Model, dataset: Dataset, feature: Feature, folder: Path, *, quiet: bool
) -> tuple[MediaSet, dict[str, Any]]:
    """What the adapted model made, and its kernel distance from the tuning set beside that of its base.

    `evaluate.n` media for those prompts of `sample.prompts` that are no caption of the tuning set, each with the same
    seed before and after. Writes a picture of both to `folder`. MultigenError if there are no such prompts, or fewer
    than three media to compare with.
    """
    tuning = Pool("tuning set", dataset.split()[0])
    if len(tuning.indices) < 3:
        raise MultigenError(f"evaluate: {len(tuning.indices)} media are too few to measure a distance from")
    settings, seed = model.recipe.evaluate, model.recipe.seed
    true = real(dataset, tuning, len(tuning.indices), model.codec, seed=seed, part="tuning")
    prompts = unseen(model, true)
    asked = [Wanted(prompts[k % len(prompts)]) for k in range(settings.n)]
    sets: list[MediaSet] = []
    with Progress("evaluate", 2 * settings.n, quiet=quiet) as bar:
        with model.bare():
            sets.append(generated(model, asked, "before", seed=seed, progress=bar))
        sets.append(generated(model, asked, "after", seed=seed, progress=bar))
    x, *made = (extract(feature, one.media, device=model.device) for one in (true, *sets))
    before, after = (distances.kernel(x, one)._asdict() for one in made)
    folder.mkdir(parents=True, exist_ok=True)
    shown = min(_SHOWN, settings.n)
    _sheet(model.modality, [sets[0].media[:shown], sets[1].media[:shown]]).save(folder / SHEET)
    row: dict[str, Any] = {"prompts": prompts, "media": settings.n, "tuning_media": len(true)}
    return sets[1], row | {"before": before, "after": after}


def unseen(model: Model, tuning: MediaSet) -> list[str]:
    """The recipe's prompts that the tuning set does not show; "" where the model takes none."""
    if model.recipe.conditioner.name == "none":
        return [""]
    known = {wanted.prompt.strip().casefold() for wanted in tuning.wanted}
    prompts = [p for p in model.recipe.sample.prompts if p.strip().casefold() not in known]
    if not prompts:
        raise MultigenError(
            "evaluate: every prompt of sample.prompts is a caption of the tuning set; give others to see whether the "
            "style goes beyond it"
        )
    return prompts


def _sheet(modality: Modality, sides: list[list[Tensor]]) -> Image.Image:
    """Both sides' previews side by side."""
    pictures = [modality.preview(media).convert("RGB") for media in sides]
    gap = 24
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet
