"""How far an adapter moves the model towards its tuning media, on prompts that these do not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.evaluation import distances
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.metrics import Target
from multigen.evaluation.sets import MediaSet, Pool, generated_set, real_set
from multigen.modalities import Modality
from multigen.model.model import Model
from multigen.progress import Progress

SHEET = "evaluation-style.png"
_SHOWN = 16  # media of each side in the picture
_LEAST = 3  # tuning media that a distance can be measured from


def measure_style(
    model: Model, dataset: Dataset, feature: Feature, folder: Path, *, quiet: bool
) -> tuple[MediaSet, dict[str, Any]]:
    """Media of the adapted model, and kernel distances from the tuning set: of the base model and of the adapted one.

    Both make `evaluate.n` media with the same seeds, for those prompts of `sample.prompts` that are no caption of the
    tuning set. Writes a picture of both to `folder`. MultigenError if there are no such prompts, or too few tuning
    media.
    """
    tuning = Pool("tuning set", dataset.split()[0])
    if len(tuning.indices) < _LEAST:
        raise MultigenError(
            f"evaluate: {len(tuning.indices)} tuning media are too few to measure a distance from. "
            f"Allowed: {_LEAST} or more."
        )
    settings, seed = model.recipe.evaluate, model.recipe.seed
    true = real_set(dataset, tuning, len(tuning.indices), model.codec, seed=seed, part="tuning")
    prompts = unseen_prompts(model, true)
    targets = [Target(prompts[k % len(prompts)]) for k in range(settings.n)]
    sets: list[MediaSet] = []
    with Progress("evaluate", 2 * settings.n, quiet=quiet) as progress:
        with model.bare():
            sets.append(generated_set(model, targets, "before", seed=seed, progress=progress))
        sets.append(generated_set(model, targets, "after", seed=seed, progress=progress))
    x, *others = (extract(feature, one.media, device=model.device) for one in (true, *sets))
    before, after = (distances.kernel(x, one)._asdict() for one in others)
    folder.mkdir(parents=True, exist_ok=True)
    shown = min(_SHOWN, settings.n)
    _side_by_side(model.modality, [sets[0].media[:shown], sets[1].media[:shown]]).save(folder / SHEET)
    row: dict[str, Any] = {"prompts": prompts, "media": settings.n, "tuning_media": len(true)}
    return sets[1], row | {"before": before, "after": after}


def unseen_prompts(model: Model, tuning: MediaSet) -> list[str]:
    """The recipe's prompts that are no caption of the tuning set; "" alone for a model that takes no prompt.

    MultigenError if every prompt is a caption of the tuning set.
    """
    if model.recipe.conditioner.name == "none":
        return [""]
    known = {target.prompt.strip().casefold() for target in tuning.targets}
    prompts = [p for p in model.recipe.sample.prompts if p.strip().casefold() not in known]
    if not prompts:
        raise MultigenError(
            "evaluate: every prompt of sample.prompts is a caption of the tuning set. Give other prompts, to see "
            "whether the style carries over."
        )
    return prompts


def _side_by_side(modality: Modality, sides: list[list[Tensor]]) -> Image.Image:
    """The previews of both sides, next to each other."""
    pictures = [modality.preview(media).convert("RGB") for media in sides]
    gap = 24
    width = sum(p.width for p in pictures) + gap * (len(pictures) - 1)
    sheet = Image.new("RGB", (width, max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width + gap
    return sheet
