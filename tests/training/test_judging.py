"""A critic beside a distillation: the same squared error, an adversarial loss more, and a network that learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from multigen.core import Cond, Denoiser
from multigen.core.predictions import x0 as x0_prediction
from multigen.core.schedules import flow
from multigen.training.coding import CRITIC
from multigen.training.critics import Critic
from multigen.training.judging import Judging
from multigen.training.learner import Learner
from multigen.training.trainer import Trainer
from tests.training.test_distillation import halves, student
from tests.training.toys import Identity, Mlp, diffusion


class Line(Critic):
    """One linear score of a medium [1, 8]."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.start, self.score = start, nn.Linear(8, 1)

    def loss(self, real: Tensor, made: Tensor) -> Tensor:
        return (1 - self.score(real)).relu().mean() + (1 + self.score(made)).relu().mean()

    def teach(self, real: Tensor, made: Tensor) -> Tensor:
        return -0.1 * self.score(made).mean()


def test_the_squared_error_is_that_of_the_denoiser() -> None:
    torch.manual_seed(0)
    denoiser, critic = Denoiser(Mlp(), flow(), x0_prediction()), Line()
    judging = Judging(critic, Identity(), denoiser)
    x0, eps = torch.randn(2, 5, 1, 8)
    t, cond = torch.linspace(0.1, 1, 5, dtype=torch.float64), Cond(vector=torch.randn(5, 4))
    torch.testing.assert_close(judging.losses(x0, t, cond, eps), denoiser.loss(x0, t, cond, eps))
    alpha, sigma = (one.float().view(-1, 1, 1) for one in flow()(t))
    made = denoiser(alpha * x0 + sigma * eps, t, cond)
    torch.testing.assert_close(judging.teaching(), critic.teach(x0, made))
    torch.testing.assert_close(judging.critic_loss(), critic.loss(x0, made))
    with pytest.raises(AssertionError, match="no answers were kept"):
        judging.teaching()


def judged(folder: Path, start: float, steps: int = 20) -> Trainer:
    made = student(folder, halves, steps=steps, checkpoint_every=10)
    task = diffusion(made)
    torch.manual_seed(5)
    critic = Line(start)
    task.judging = Judging(critic, task.codec, task.denoiser)
    made.learners[CRITIC] = made.state.learners[CRITIC] = Learner(CRITIC, critic, made.settings, task.device)  # type: ignore[index]
    return made


def test_the_critic_joins_at_its_share_of_the_training(tmp_path: Path) -> None:
    late, never, early = (judged(tmp_path / str(start), start) for start in (0.5, 1.0, 0.0))
    before = {n: p.clone() for n, p in late.learners[CRITIC].parameters.items()}
    for one in (late, never, early):
        one.run()
    assert all(torch.equal(before[n], p) for n, p in never.learners[CRITIC].parameters.items())
    assert all(not torch.equal(before[n], p) for n, p in late.learners[CRITIC].parameters.items())
    ends = [torch.cat([p.flatten() for p in one.parameters.values()]) for one in (late, never, early)]
    assert (ends[0] - ends[1]).abs().max() > 1e-4 and (ends[2] - ends[0]).abs().max() > 1e-4
