"""Learning on without forgetting: what the former model knows is mixed into its training (`train.replay`).

Rehearsal (Robins 1995, "Catastrophic forgetting, rehearsal and pseudorehearsal", Connection Science 7): items of the
former data, or, where those are not at hand, samples of the former model in their place.
"""

from __future__ import annotations

from pathlib import Path

import torch

from multigen import registry
from multigen.conditioners import Conditioner
from multigen.datasets import Dataset, Item
from multigen.datasets.fewer import Fewer
from multigen.datasets.replayed import Replayed
from multigen.errors import RecipeError
from multigen.model.model import Model
from multigen.model.source import find_weights
from multigen.recipe.schema import Recipe, Replay
from multigen.runs.initial import readable
from multigen.runs.prior import own_media
from multigen.training.adapting import Adaptation

FOLDER = "replay"


def replays_itself(recipe: Recipe) -> bool:
    """Whether a training learns samples that its former model makes."""
    return recipe.train.replay is not None and recipe.train.replay.data is None


def replayed(model: Model, dataset: Dataset, folder: Path, adapter: Adaptation | None) -> Dataset:
    """The data with what is learned again beside them, as `train.replay` says.

    The model has the weights that the training begins from. RecipeError where what is known before does not go with
    the data.
    """
    replay = model.recipe.train.replay
    if replay is None:
        return dataset
    old = _former(model, replay, folder)
    mixed = Replayed(dataset, old, replay.share)
    _check_columns(model.conditioner, dataset, old, () if adapter is None else adapter.items)
    return mixed


def _former(model: Model, replay: Replay, folder: Path) -> Dataset:
    """The former data, or media that the former model makes of prompts that it knows."""
    if replay.data is not None:
        given = {"modality": model.modality}
        return registry.build("dataset", replay.data, where="train.replay.data", given=given)
    known = replay.prompts or _known(model)
    prompts = [known[k % len(known)] for k in range(replay.count)]
    # How they are sampled may change between two starts of a training; what is made stays.
    facts = {"prompts": list(known), "seed": model.recipe.seed, "init": model.recipe.train.init}
    made = own_media(model, folder / FOLDER, prompts, facts, "train.replay", told=True)
    return _Asked(made, model.conditioner)


def _known(model: Model) -> tuple[str, ...]:
    """Prompts of what a model knows: captions that it was told, the farthest from each other first, or its classes."""
    recipe = model.recipe
    knowledge = None if recipe.train.init is None else find_weights(recipe.train.init).knowledge
    if knowledge is not None:
        return knowledge.captions
    if classes := recipe.conditioner.args.get("classes"):
        return tuple(classes)
    if not model.conditioner.text:
        return ("",)
    raise RecipeError(
        "train.replay.prompts: the former model does not say what it was told. Give captions of what shall stay, such "
        "as train.replay.prompts=[a red apple,a green pear], or the former data: train.replay.data={name: ...}"
    )


class _Asked(Fewer):
    """Media of prompts, with the columns that the conditioner makes of the prompts in sampling."""

    def __init__(self, dataset: Dataset, conditioner: Conditioner) -> None:
        super().__init__(dataset, ())
        self.conditioner = conditioner

    def __getitem__(self, index: int) -> Item:
        return self._asked(self.whole[index])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item as the dataset draws it, and the columns of its prompt."""
        return self._asked(self.whole.draw(index, rng))

    def _asked(self, item: Item) -> Item:
        columns = self.conditioner.from_prompts([item.get("text", "")])
        return Item(**{**item, **{name: values[0] for name, values in columns.items()}})


def _check_columns(conditioner: Conditioner, new: Dataset, old: Dataset, needed: tuple[str, ...]) -> None:
    """RecipeError where old items lack what new ones are conditioned on: a batch would lose it for all."""
    one, other = (next(iter(readable(data, data.split()[0])), None) for data in (new, old))
    if one is None or other is None:
        return
    read = {*conditioner.from_prompts([""]), *needed}
    if "label" in read and (lost := [name for name in old.classes if name not in new.classes]):
        raise RecipeError(
            f"train.replay.data: its class {lost[0]!r} is none of those of the data, {', '.join(new.classes)}"
        )
    if lacks := sorted(name for name in one if name in read and name not in other):
        raise RecipeError(
            f"train.replay: the data's items have {lacks[0]!r}, which those that are learned again lack. Give former "
            "data that have it: train.replay.data={name: ...}"
        )
