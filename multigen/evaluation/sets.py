"""The sets of media that an evaluation compares: generated media, real media through the codec, decoded noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal, stream
from multigen.datasets import CaptionKind, Dataset, Item
from multigen.errors import MediaError, MultigenError
from multigen.evaluation.caption_kinds import drawn_of_kind
from multigen.evaluation.media_folder import MediaFolder
from multigen.evaluation.metrics import Target
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.progress import Progress

CONDITION = "condition"  # the option of models that make media for other media
_LEAST = 8  # media of a folder that can be measured
_UNREADABLE = 100  # media of a dataset that may be unreadable


@dataclass(frozen=True)
class MediaSet:
    """Media [C, *D] in [-1, 1], each with its target."""

    name: str
    media: list[Tensor]
    targets: list[Target]

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, index: int) -> Item:
        return {"media": self.media[index], "id": self.targets[index].id}


@dataclass(frozen=True)
class Pool:
    """Items of a dataset from which real media and prompts are drawn.

    A dataset that holds out media has one pool, the held-out items. A dataset that holds out captions has two, "seen"
    and "new" (or one for each kind of new captions): its media show the same things in both, so the real media are
    drawn with augmentation that training did not see. Captions of training that are measured by themselves have a
    pool each: `kind` says which they are.
    """

    name: str
    indices: Sequence[int]
    kind: CaptionKind | None = None


def pools_of(dataset: Dataset) -> list[Pool]:
    """The pools of a dataset. MultigenError if nothing is held out."""
    train, held = dataset.split()
    if not len(held):
        raise MultigenError(
            "evaluate: this dataset holds nothing out, so there are no real media to compare with. "
            "Set, for example, data.held_out=0.1."
        )
    catalogue = dataset.catalogue()
    kinds = {} if catalogue is None else catalogue.kinds
    own = [Pool(name, train, kind) for name, kind in kinds.items()]
    if dataset.holds_out == "captions":
        held_kinds = dataset.held_kinds()
        new = [Pool(f"new {kind}", some) for kind, some in held_kinds.items()]
        return [Pool("seen", train), *(new if len(new) > 1 else [Pool("new", held)]), *own]
    return [Pool("held out", held), *own]


def real_set(dataset: Dataset, pool: Pool, n: int, codec: Codec, *, seed: int, part: str) -> MediaSet:
    """n real media of a pool, encoded and decoded. `part` as in `draw_items`."""
    media, targets = [], []
    for k, item in enumerate(draw_items(dataset, pool, n, seed, part)):
        media.append(reconstruct(codec, item["media"], seed + k))
        targets.append(_target(item))
    return MediaSet(f"real, {pool.name}", media, targets)


def draw_items(dataset: Dataset, pool: Pool, n: int, seed: int, part: str) -> list[Item]:
    """n items of a pool in an order that depends on the seed; `part` keys their augmentation.

    The parts "a" and "b", which are compared with each other, share no item, except in a pool of one. Of captions that
    are asked for several times, each has as many media: real pictures of the same thing, under the same caption.
    """
    order = torch.randperm(len(pool.indices), generator=stream(seed, "evaluate", pool.name)).tolist()
    half = len(order) // 2
    mine = order[half:] if part == "b" and half else order[: half or 1] if part == "a" else order
    if pool.kind is not None:
        indices = [pool.indices[k] for k in mine]
        return drawn_of_kind(dataset, indices, pool.kind, n, lambda *k: stream(seed, "evaluate", part, *k))
    items: list[Item] = []
    for k in range(n + _UNREADABLE):
        if len(items) == n:
            return items
        try:
            items.append(dataset.draw(pool.indices[mine[k % len(mine)]], stream(seed, "evaluate", part, k)))
        except MediaError:  # the dataset has already reported the file
            continue
    raise MultigenError(f"evaluate: more than {_UNREADABLE} of the dataset's media cannot be read")


def draw_targets(dataset: Dataset, pool: Pool, n: int, *, seed: int) -> list[Target]:
    """The targets of n items of a pool: what media are generated for."""
    return [_target(item) for item in draw_items(dataset, pool, n, seed, "asked")]


def _target(item: Item) -> Target:
    return Target(item.get("text", ""), item["id"], item.get("label"), item.get("condition"))


@torch.no_grad()
def reconstruct(codec: Codec, media: Tensor, seed: int) -> Tensor:
    """Media [C, *D] encoded and decoded; the codec may change their length."""
    device = next((b.device for b in codec.buffers()), torch.device("cpu"))
    return codec.decode(codec.encode(media[None].to(device)), seed=seed)[0].float().cpu().clamp(-1, 1)


@torch.no_grad()
def noise_set(model: Model, n: int, *, seed: int) -> MediaSet:
    """White noise in model space, decoded: what a model would make that has learned nothing."""
    shape = model.codec.shape(model.modality.shape())
    device = next((b.device for b in model.codec.buffers()), torch.device("cpu"))
    media = [
        model.codec.decode(normal(shape, seed + k, "floor")[None].to(device), seed=seed + k)[0].float().cpu()
        for k in range(n)
    ]
    return MediaSet("noise", [m.clamp(-1, 1) for m in media], [Target("")] * n)


def generated_set(
    model: Model,
    targets: Sequence[Target],
    name: str,
    *,
    seed: int,
    progress: Progress | None = None,
) -> MediaSet:
    """One medium for each target, reported to `progress`.

    Where their prompts ask for different sizes, all are padded or cut as the dataset's items are.
    """
    shown = Progress("evaluate", len(targets), quiet=True) if progress is None else progress
    prompts = [request_of(model, target) for target in targets]
    batcher = model.batcher(prompts, seed=seed, on_progress=lambda _: shown.called())
    shown.expect(batcher.calls, len(prompts))
    media: list[Tensor] = []
    for medium in batcher.in_order():
        media.append(medium.tensor.clamp(-1, 1))
        shown.advance()
    if len({medium.shape for medium in media}) > 1:
        media = [model.modality.fit(medium, model.modality.shape()) for medium in media]
    return MediaSet(name, media, list(targets))


def folder_set(files: MediaFolder, name: str) -> MediaSet:
    """The media of a folder.

    MultigenError if they are too few; MediaError for a file of another size or rate, or one that cannot be read.
    """
    items = [files[k] for k in range(len(files))]
    if len(items) < _LEAST:
        raise MultigenError(f"{name}: {len(items)} media are too few to measure. Allowed: {_LEAST} or more.")
    return MediaSet(name, [i["media"] for i in items], [Target("", i["id"]) for i in items])


def prompt_of(model: Model, target: Target) -> str:
    """What a model is asked for to make a target, as its conditioner says it: a class, a caption, or nothing."""
    return model.conditioner.prompt_for(target.prompt, target.label)


def takes_condition(model: Model) -> bool:
    """Whether a model makes media for other media."""
    return CONDITION in {o.name for o in model.conditioner.declares(model.recipe.conditioner.args)}


def request_of(model: Model, target: Target) -> Request:
    """What a model is asked for to make a target, with the target's condition where the model takes one."""
    known = target.condition is not None and takes_condition(model)
    return Request(prompt_of(model, target), options={CONDITION: target.condition} if known else {})
