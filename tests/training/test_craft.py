"""Training craft: learned weights of noise levels, parts of a condition left out, losses by level, patience."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen.core import Cond
from multigen.core.schedules import flow
from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Drop
from multigen.runs import resume
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training.draws import Places
from multigen.training.heldout import LEVELS, ByLevel
from multigen.training.trainer import Trainer
from multigen.training.uncertainty import Uncertainty
from tests.training.toys import diffusion, trainer


def test_uncertainty_learns_the_logarithm_of_the_loss_at_each_level() -> None:
    torch.manual_seed(0)
    net = Uncertainty()
    assert net(torch.linspace(-20, 20, 9)).abs().max() == 0  # training begins as without it
    adam = torch.optim.Adam(net.parameters(), 0.03)

    def wanted(log_snr: Tensor) -> Tensor:
        return 0.8 * torch.sin(log_snr / 6) - 1

    for _ in range(1500):
        log_snr = 24 * torch.rand(256) - 12
        noisy = wanted(log_snr).exp() * (0.5 + torch.rand(256))  # its mean is what counts
        adam.zero_grad()
        net.loss(noisy, log_snr).mean().backward()
        adam.step()
    log_snr = torch.linspace(-11, 11, 45)
    assert (net(log_snr) - wanted(log_snr)).abs().max() < 0.15


def test_training_with_uncertainty_weighs_the_loss_and_teaches_the_helper(tmp_path: Path) -> None:
    t = trainer(tmp_path, uncertainty=True, steps=60, checkpoint_every=60)
    t.run()
    helper = diffusion(t).uncertainty
    assert helper is not None
    assert helper(torch.zeros(1)).item() < -0.1  # the losses of this toy are below 1
    rows = training_log.read(tmp_path)
    assert all(math.isfinite(row["uncertainty_loss"]) for row in rows)
    saved = checkpoints.newest(tmp_path / "checkpoints")
    assert saved is not None
    again = trainer(tmp_path, uncertainty=True, seed=0)
    again.restore(checkpoints.load(saved))
    restored = diffusion(again).uncertainty
    assert restored is not None
    assert torch.equal(restored.weight, helper.weight)
    assert torch.equal(restored.bias, helper.bias)


def test_losses_by_level_are_the_means_of_the_nearest_levels() -> None:
    by = ByLevel(torch.device("cpu"))
    ratio = torch.tensor([-3.2, -2.9, 0.1, 9.0])  # log(sigma/alpha); beyond the ends counts as the end
    by.add(-2 * ratio, torch.tensor([1.0, 3.0, 5.0, 7.0]))
    by.add(torch.tensor([0.0]), torch.tensor([6.0]))
    by.add(torch.tensor([0.0, 6.0]), torch.tensor([torch.nan, torch.inf]))  # of an update that is left out
    assert by.drain() == {"-3.0": 2.0, "0.0": 5.5, "3.0": 7.0}
    assert by.drain() == {}


def test_the_log_has_the_training_loss_by_level(tmp_path: Path) -> None:
    trainer(tmp_path, log_every=10).run()
    rows = [r for r in training_log.read(tmp_path) if "levels" in r]
    assert len(rows) >= 2
    assert set(rows[0]["levels"]) <= {str(level) for level in LEVELS}
    assert len(rows[0]["levels"]) >= 3
    # The plain mean over a batch lies between the levels' means.
    assert min(rows[0]["levels"].values()) <= rows[0]["loss"] <= max(rows[0]["levels"].values())


def test_one_part_of_a_condition_is_left_out() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    full = Cond(vector=torch.ones(2, 4), tokens=torch.ones(2, 3, 5), mask=mask)
    null = Cond(vector=torch.zeros(2, 4), tokens=torch.zeros(2, 1, 5), mask=mask[:, :1])
    keep = torch.tensor([True, False])
    one = full.where(keep, null, "vector")
    assert one.vector is not None and one.tokens is not None and one.mask is not None
    assert one.vector[:, 0].tolist() == [1, 0]
    assert bool((one.tokens == 1).all()) and bool(one.mask.all())
    other = full.where(keep, null, "tokens")
    assert other.vector is not None and other.mask is not None
    assert bool((other.vector == 1).all())
    assert other.mask.sum(1).tolist() == [3, 1]


def test_parts_are_dropped_at_their_own_share(tmp_path: Path) -> None:
    t = trainer(tmp_path, cond_dropout=0.0, drop=Drop(vector=0.25))
    task = diffusion(t)
    full, null = Cond(vector=torch.ones(4000, 4)), Cond(vector=torch.zeros(4000, 4))
    dropped = task.examples.without_parts(full, null, 3, Places(4000, range(4000))).vector
    assert dropped is not None
    share = 1 - float(dropped[:, 0].mean())
    assert abs(share - 0.25) < 0.03
    again = task.examples.without_parts(full[:100], null[:100], 3, Places(4000, range(100, 200))).vector
    assert again is not None
    assert torch.equal(again, dropped[100:200])  # keyed by the place in the global batch


def graded(folder: Path, losses: list[float], **settings: object) -> Trainer:
    """A training whose held-out losses are given, one every two steps."""
    t = trainer(folder, held_out_every=2, patience=2, steps=40, checkpoint_every=4, **settings)
    t.task.measure = lambda step: {"mean": losses[t.step // 2 - 1]}  # type: ignore[method-assign]
    return t


LOSSES = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 9.0, 9.0] + [0.0] * 20


def test_patience_ends_a_training_and_keeps_its_best(tmp_path: Path) -> None:
    t = graded(tmp_path, LOSSES)
    t.run()
    assert t.step == 12  # 1.0 at step 8; 1.5 and 1.0 were no better
    best = checkpoints.best(tmp_path / "checkpoints")
    assert best is not None and best.name == "step-00000008" and best.loss == 1.0
    newest = checkpoints.newest(tmp_path / "checkpoints")
    assert newest is not None
    state = checkpoints.load(newest)
    recipe = load_recipe("image_digits", ["train.patience=2"])
    assert resume.complete(recipe, state)
    assert not resume.complete(load_recipe("image_digits", ["train.patience=3"]), state)


@pytest.mark.parametrize("stop", [4, 6, 8, 9, 10, 11])
def test_patience_counts_on_after_a_resume(tmp_path: Path, stop: int) -> None:
    first = graded(tmp_path, LOSSES)
    inner = first._update

    def killed(batch: object) -> dict[str, float]:
        if first.step == stop:
            raise KeyboardInterrupt
        return inner(batch)  # type: ignore[arg-type]

    first._update = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    second = graded(tmp_path, LOSSES)
    newest = checkpoints.newest(tmp_path / "checkpoints")
    assert newest is not None
    second.restore(checkpoints.load(newest))
    second.run()
    assert second.step == 12
    best = checkpoints.best(tmp_path / "checkpoints")
    assert best is not None and best.name == "step-00000008"


def test_patience_needs_held_out_losses() -> None:
    with pytest.raises(RecipeError, match=r"train\.patience: it counts held-out losses"):
        load_recipe("image_digits", ["train.patience=3", "train.held_out_every=0"])


def test_flow_levels_are_those_of_the_schedule() -> None:
    """log(sigma/alpha) of a level is minus half its log-SNR, as `ByLevel` has it."""
    t = torch.tensor([0.2, 0.5], dtype=torch.float64)
    alpha, sigma = flow()(t)
    assert torch.allclose(-flow().log_snr(t) / 2, (sigma / alpha).log())
