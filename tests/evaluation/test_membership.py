"""The gap between held-out and training items: none where none was learned, found where there is one."""

from __future__ import annotations

import math

import pytest
import torch

from multigen.evaluation.membership import measure_losses, membership, told
from multigen.model.build import build_dataset
from multigen.training.heldout import LEVELS, HeldOut
from tests.model.test_model import small


def losses(n: int, mean: float, seed: int) -> tuple[list[str], torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    rows = mean + 0.1 * torch.randn(n, 1, generator=noise, dtype=torch.float64)
    return [f"{seed}/{k}" for k in range(n)], rows.expand(n, len(LEVELS))


def test_no_gap_is_chance() -> None:
    found = membership(losses(200, 1.0, 0), losses(200, 1.0, 1))
    assert abs(found["auc"] - 0.5) < 3 * found["auc_error"] and abs(found["gap"]) < 3 * found["gap_error"]
    assert 0.01 < found["auc_error"] < 0.04  # sqrt(1 / (6 n)), nearly
    assert found["auc_error"] == pytest.approx(math.sqrt(2 * 200 + 1) / math.sqrt(12 * 200 * 200), rel=0.05)


def test_a_gap_is_found_and_named() -> None:
    seen, new = losses(50, 0.8, 0), losses(40, 1.0, 1)
    found = membership(seen, new)
    assert found["gap"] == pytest.approx(0.2, abs=3 * found["gap_error"])
    # Two normal distributions that lie 0.2 apart, of deviation 0.1: Phi(0.2 / (0.1 sqrt 2)) = 0.921
    assert found["auc"] == pytest.approx(0.921, abs=3 * found["auc_error"])
    assert found["found"] > 0.3
    lowest = seen[0][int(seen[1][:, 0].argmin())]
    assert found["training"][0]["id"] == lowest and len(found["training"]) == 50
    gaps = [row["gap"] for row in found["training"]]
    assert gaps == sorted(gaps, reverse=True) and set(found["gap_by_level"]) == {str(one) for one in LEVELS}
    assert lowest in told(found)["training items with the largest gap"]


def test_equal_losses_are_ties() -> None:
    same = (["a", "b"], torch.ones(2, len(LEVELS), dtype=torch.float64))
    found = membership(same, same)
    assert (found["auc"], found["gap"], found["found"]) == (0.5, 0.0, 0.0)


def test_a_models_losses_are_those_of_training() -> None:
    model = small("image_digits")
    dataset = build_dataset(model.recipe, model.modality)
    measured = measure_losses(model, dataset)
    levels, found = measured["held_out_loss"], measured["membership"]
    held = HeldOut(
        dataset,
        dataset.split()[1],
        model.codec,
        model.conditioner,
        model.denoiser,
        model.recipe.seed,
        model.device,
    )
    assert levels == pytest.approx(held.measure())
    assert found["training_items"] == found["held_out_items"] == 32
    mean = sum(row["loss"] for row in found["held_out"]) / 32
    assert mean == pytest.approx(levels["mean"]) and 0.2 < found["auc"] < 0.8  # it has learned nothing
    assert len({row["id"] for row in found["training"]} & {row["id"] for row in found["held_out"]}) == 0
