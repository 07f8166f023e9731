"""A pack: a recipe, its media and a trimmed text encoder, small enough to travel, from which training goes as usual.

recipe.yaml   as it is published: without paths
media.tar     (xz) the folder of `data.path`; absent where the recipe's media come from packages
encoder/      the conditioner's text encoder (`benchmarks.gpu.encoder`); absent where it is no text conditioner
init.safetensors  weights that training starts from, in fp16; absent where it starts from nothing
prompts.json  what is sampled in the end: {"sheet": [...], "evaluation": [...]}
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from benchmarks.gpu.encoder import trimmed, whole
from multigen.conditioners.text_encoder import packaged_folder
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.model.build import build_dataset
from multigen.model.source import read_weights
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe, override_recipe
from multigen.recipe.schema import Recipe

DRAWS = 24  # captions that are drawn of each item at most, for the vocabulary
CAPTIONS = 200_000  # ... of all items, but at least one of each
SHEET, EVALUATION = 100, 1500  # prompts
INIT = "init.safetensors"


def pack(name: str, out: Path, *, overrides: Sequence[str] = (), draws: int = DRAWS) -> dict[str, int]:
    """Write the pack of a recipe to a folder; how many bytes each of its parts takes."""
    recipe = load_recipe(name, overrides)
    dataset = build_dataset(recipe)
    out.mkdir(parents=True, exist_ok=True)
    public = published(recipe)
    (out / "recipe.yaml").write_text(to_yaml(public), encoding="utf-8")
    prompts = {"sheet": sheet(recipe, dataset), "evaluation": evaluation(dataset)}
    (out / "prompts.json").write_text(json.dumps(prompts, ensure_ascii=False), encoding="utf-8")
    if (path := recipe.data.args.get("path")) is not None:
        with tarfile.open(out / "media.tar", "w:xz", format=tarfile.GNU_FORMAT) as archive:
            for file in sorted(p for p in Path(path).rglob("*") if p.is_file()):
                archive.add(file, file.relative_to(path))
    if recipe.conditioner.name == "text":
        folder = recipe.conditioner.args.get("path")
        source = packaged_folder() if folder is None else Path(folder)
        spoken = captions(build_dataset(_small(recipe)), draws)
        wanted = {"", *prompts["sheet"], *prompts["evaluation"], *spoken}
        trimmed(source, wanted, out / "encoder")
    if recipe.train.init is not None:
        save_file(_half(read_weights(recipe.train.init)), out / INIT)
    files = [p for p in out.rglob("*") if p.is_file()]
    return {str(p.relative_to(out)): p.stat().st_size for p in sorted(files)}


def _half(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights in fp16, but for a codec's: its statistics say what the numbers mean."""
    halves = {k for k, v in weights.items() if v.is_floating_point() and not k.startswith("codec.")}
    return {k: (v.half() if k in halves else v).contiguous() for k, v in weights.items()}


def _small(recipe: Recipe) -> Recipe:
    """The recipe with emoji as small and short as they get: captions do not depend on that, and drawing them does."""
    if recipe.data.name not in ("emoji", "moving_emoji"):
        return recipe
    short = ["modality.frames=1"] if recipe.modality.name == "video" else []
    return override_recipe(recipe, ["modality.size=8", *short])


def captions(dataset: Dataset, draws: int) -> Iterator[str]:
    """Captions that training draws, and those of all items as they are."""
    train, held = dataset.split()
    for index in [*train, *held]:
        yield dataset[index].get("text", "")
    for index in train:
        for k in range(max(1, min(draws, CAPTIONS // len(train)))):
            yield dataset.draw(index, stream(0, "pack", index, k)).get("text", "")


def sheet(recipe: Recipe, dataset: Dataset) -> list[str]:
    """Prompts for the eye: the recipe's own, then some that were trained on and some held out."""
    train, held = dataset.split()
    mine = list(recipe.sample.prompts)
    half = (SHEET - len(mine)) // 2
    return [*mine, *_spread(dataset, train, half), *_spread(dataset, held, SHEET - len(mine) - half)]


def evaluation(dataset: Dataset) -> list[str]:
    """Prompts for measures: two thirds trained on, one third held out."""
    train, held = dataset.split()
    new = min(EVALUATION // 3, len(held))
    return [*_spread(dataset, train, EVALUATION - new), *_spread(dataset, held, new)]


def _spread(dataset: Dataset, indices: Sequence[int], count: int) -> list[str]:
    """Texts of so many items, evenly spread; again from the first where there are not as many."""
    if not len(indices):
        return []
    chosen = [indices[k * len(indices) // count] for k in range(count)]
    return [dataset[index].get("text", "") for index in chosen]


def published(recipe: Recipe) -> Recipe:
    """The recipe without the paths of this machine."""
    overrides = ["weights=null", "train.init=null"]
    overrides += ["data.path=null"] if "path" in recipe.data.args else []
    overrides += ["conditioner.path=null"] if "path" in recipe.conditioner.args else []
    return override_recipe(recipe, overrides)


def unpacked(folder: Path, to: Path) -> tuple[Recipe, Recipe]:
    """(the recipe with the pack's paths, the published one) of a pack whose media are unpacked to `to`.

    The text encoder is unpacked to `encoder` beside it.
    """
    if not (folder / "recipe.yaml").is_file():
        raise MultigenError(f"{folder}: not a pack: it has no recipe.yaml")
    overrides = []
    if (folder / "media.tar").is_file():
        to.mkdir(parents=True, exist_ok=True)
        with tarfile.open(folder / "media.tar") as archive:
            archive.extractall(to, filter="data")
        overrides.append(f"data.path={to}")
    if (folder / "encoder").is_dir():
        overrides.append(f"conditioner.path={whole(folder / 'encoder', to.with_name('encoder'))}")
    if (folder / INIT).is_file():
        overrides.append(f"train.init={folder / INIT}")
    public = load_recipe(str(folder / "recipe.yaml"))
    return override_recipe(public, overrides), public
