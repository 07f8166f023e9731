"""The sets that an evaluation measures: what was generated, real media through the codec, and noise through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.noise import normal, stream
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError, MultigenError
from multigen.evaluation.folder import MediaFolder
from multigen.evaluation.metrics import Wanted
from multigen.model import Model


@dataclass(frozen=True)
class MediaSet:
    """Media [C, *D] in [-1, 1] and what each shows or was made for."""

    name: str
    media: list[Tensor]
    wanted: list[Wanted]

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, index: int) -> Item:
        return {"media": self.media[index], "id": self.wanted[index].id}


@dataclass(frozen=True)
class Pool:
    """Items that real media and prompts are drawn from.

    A dataset that holds out media has its prompts and its real media from what is held out. One that holds out
    captions has two pools, "seen" and "new", for its media alone say nothing new: real media of either are drawn with
    augmentation that training did not see. Several kinds of new captions have a pool each, such as "new style".
    """

    name: str
    indices: Sequence[int]


def pools(dataset: Dataset) -> list[Pool]:
    """The pools of a dataset; MultigenError if nothing is held out."""
    train, held = dataset.split()
    if not len(held):
        raise MultigenError(
            "evaluate: nothing is held out of this dataset, so there is nothing to compare with: data.held_out=0.1"
        )
    if getattr(dataset, "holds_out", "media") == "captions":
        kinds = getattr(dataset, "held_kinds", dict)()
        new = [Pool(f"new {kind}", some) for kind, some in kinds.items()]
        return [Pool("seen", train), *(new if len(new) > 1 else [Pool("new", held)])]
    return [Pool("held out", held)]


def real(dataset: Dataset, pool: Pool, n: int, codec: Codec, *, seed: int, part: str) -> MediaSet:
    """n real media of a pool through the codec; `part` keys the draw, and parts "a" and "b" share no item."""
    media, wanted = [], []
    for k, item in enumerate(drawn(dataset, pool, n, seed, part)):
        media.append(through(codec, item["media"], seed + k))
        wanted.append(Wanted(item.get("text", ""), item["id"], item.get("label")))
    return MediaSet(f"real, {pool.name}", media, wanted)


def drawn(dataset: Dataset, pool: Pool, n: int, seed: int, part: str) -> list[Item]:
    """n items of a pool, in an order keyed by the seed; `part` keys their augmentation, "a" and "b" share none."""
    order = torch.randperm(len(pool.indices), generator=stream(seed, "evaluate", pool.name)).tolist()
    half = len(order) // 2
    # Two halves of the pool for what is compared with one another; a pool of one serves as both.
    mine = order[half:] if part == "b" and half else order[: half or 1] if part == "a" else order
    items: list[Item] = []
    for k in range(n + 100):
        if len(items) == n:
            return items
        try:
            items.append(dataset.draw(pool.indices[mine[k % len(mine)]], stream(seed, "evaluate", part, k)))
        except MediaError:  # named by the dataset already
            continue
    raise MultigenError("evaluate: more than 100 of the dataset's media cannot be read")


def requests(dataset: Dataset, pool: Pool, n: int, *, seed: int) -> list[Wanted]:
    """What n items of a pool ask for."""
    items = drawn(dataset, pool, n, seed, "asked")
    return [Wanted(i.get("text", ""), i["id"], i.get("label")) for i in items]


@torch.no_grad()
def through(codec: Codec, media: Tensor, seed: int) -> Tensor:
    """Encoded and decoded, as far as the codec keeps the length."""
    device = next((b.device for b in codec.buffers()), torch.device("cpu"))
    return codec.decode(codec.encode(media[None].to(device)), seed=seed)[0].float().cpu().clamp(-1, 1)


@torch.no_grad()
def noise(model: Model, n: int, *, seed: int) -> MediaSet:
    """White noise of the codec's model space, decoded: what a model that learnt nothing would make."""
    shape = model.codec.shape(model.modality.shape())
    device = next((b.device for b in model.codec.buffers()), torch.device("cpu"))
    media = [
        model.codec.decode(normal(shape, seed + k, "floor")[None].to(device), seed=seed + k)[0].float().cpu()
        for k in range(n)
    ]
    return MediaSet("noise", [m.clamp(-1, 1) for m in media], [Wanted("")] * n)


def generated(
    model: Model,
    wanted: Sequence[Wanted],
    name: str,
    *,
    seed: int,
    watch: Callable[[int], object] | None = None,
) -> MediaSet:
    """One medium for each request, of the modality's natural size; `watch` sees how many are done."""
    prompts = [_prompt(model, w) for w in wanted]
    media = []
    for medium in model.stream(prompts, n=1, seed=seed):
        media.append(medium.tensor.clamp(-1, 1))
        if watch is not None:
            watch(len(media))
    return MediaSet(name, media, list(wanted))


def from_files(files: MediaFolder, name: str) -> MediaSet:
    """The media of a folder; MediaError for a file of another size or rate, or one that cannot be read."""
    items = [files[k] for k in range(len(files))]
    if len(items) < 8:
        raise MultigenError(f"{name}: {len(items)} media are too few to measure; give 8 or more")
    return MediaSet(name, [i["media"] for i in items], [Wanted("", i["id"]) for i in items])


def _prompt(model: Model, wanted: Wanted) -> str:
    kind = model.recipe.conditioner
    if kind.name == "label" and wanted.label is not None:
        return list(kind.args["classes"])[wanted.label]
    return "" if kind.name == "none" else wanted.prompt
