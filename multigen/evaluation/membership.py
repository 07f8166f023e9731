"""Can training items be told from held-out ones by their loss? The gap between the two, and of each item."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multigen.datasets import Dataset
from multigen.model.model import Model
from multigen.model.stages import trained
from multigen.training.heldout import LEVELS, HeldOut, by_level

_SHOWN = 8  # items that are named


def measure_losses(model: Model, dataset: Dataset) -> dict[str, Any]:
    """`held_out_loss`, by noise level, and `membership`, what it says beside the loss of training items.

    Membership inference by loss (Yeom et al. 2018, arXiv:1709.01604; for diffusion models Carlini et al. 2023,
    arXiv:2301.13188, section 5): where training items have lower losses, who holds an item can tell whether it was
    trained on. Without `membership` where a side has fewer than two items.
    """
    train, held = dataset.split()
    seen, new = (_losses(model, dataset, side).each() for side in (train, held))
    found: dict[str, Any] = {"held_out_loss": by_level(new[1])}
    if min(len(seen[0]), len(new[0])) > 1:
        found["membership"] = membership(seen, new) | {"holds_out": dataset.holds_out}
    return found


def membership(seen: tuple[Sequence[str], Tensor], new: tuple[Sequence[str], Tensor]) -> dict[str, Any]:
    """How far training items and held-out ones, ids and losses [n, levels], lie apart.

    gap    mean loss of held-out items less that of training items, with its standard error
    auc    how often a training item has the lower loss of a pair; 0.5: they cannot be told apart. Its standard error
           is that of Hanley & McNeil (1982, eq. 1)
    found  share of the training items below the lowest 5% of the held-out ones
    """
    a, b = seen[1].mean(1), new[1].mean(1)
    gap = float(b.mean() - a.mean())
    error = math.sqrt(float(a.var() / len(a) + b.var() / len(b)))
    wins = (a[:, None] < b[None]).double() + 0.5 * (a[:, None] == b[None]).double()
    auc = float(wins.mean())
    gaps = (new[1].mean(0) - seen[1].mean(0)).tolist()
    limit = float(b.quantile(0.05))
    return {
        "training_items": len(a), "held_out_items": len(b), "gap": gap, "gap_error": error, "auc": auc,
        "auc_error": _auc_error(auc, len(a), len(b)), "found": float((a < limit).double().mean()),
        "gap_by_level": {str(level): value for level, value in zip(LEVELS, gaps, strict=True)},
        "training": _rows(seen[0], a, float(b.mean())), "held_out": _rows(new[0], b, float(a.mean())),
    }  # fmt: skip


def told(found: Mapping[str, Any]) -> dict[str, str]:
    """The result in words, for a table."""
    return {
        "training items, held-out items": f"{found['training_items']}, {found['held_out_items']}",
        "gap of the loss": f"{found['gap']:.3g} ± {found['gap_error']:.2g}",
        "told apart (0.5: by chance)": f"{found['auc']:.2f} ± {found['auc_error']:.2f}",
        "training items below 95% of held-out ones": f"{found['found']:.0%}",
        "training items with the largest gap": ", ".join(row["id"] for row in found["training"][:_SHOWN]),
    }


def _losses(model: Model, dataset: Dataset, indices: Sequence[int]) -> HeldOut:
    return HeldOut(
        dataset, indices, model.codec, model.conditioner, model.denoiser, model.recipe.seed, model.device,
        masked=model.recipe.masked, cascade=trained(model.cascade),
    )  # fmt: skip


def _rows(ids: Sequence[str], losses: Tensor, others: float) -> list[dict[str, Any]]:
    """Items with their loss and how far it is below the mean of the other side, the furthest first."""
    order = torch.argsort(losses, stable=True).tolist()
    return [{"id": ids[k], "loss": float(losses[k]), "gap": others - float(losses[k])} for k in order]


def _auc_error(auc: float, n: int, m: int) -> float:
    one, other = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (n - 1) * (one - auc**2) + (m - 1) * (other - auc**2)
    return math.sqrt(max(spread, 0.0) / (n * m))
