"""A learner's steps and averages reach every copy of the weights that sampling keeps."""

from __future__ import annotations

import copy
import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from multigen.backbones.packed import PackedWeights, available
from multigen.backbones.unet import UNet
from multigen.core import Cond, Denoiser, predictions, schedules
from multigen.core.conditioning import CondSpec
from multigen.core.copies import KeepsCopies, copied_bytes
from multigen.recipe.schema import Train
from multigen.training.ema import EMA
from multigen.training.learner import Learner
from multigen.training.task import MODEL

CPU = torch.device("cpu")
X, T = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.full((1,), 0.5)


def denoiser(precision: torch.dtype | None) -> Denoiser:
    torch.manual_seed(0)
    net = UNet(
        axes=2, channels=2, out_channels=2, cond=CondSpec(), widths=(96,), blocks=1, attention=(False,)
    )
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.02 * torch.randn(p.shape))
    return Denoiser(net, schedules.flow(), predictions.flow(), precision=precision)


def learn(learner: Learner, loss: Tensor) -> None:
    learner.gradient(iter([loss]))
    learner.update(0.02)


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("averaged", [False, True], ids=["live", "averaged"])
def test_samples_follow_steps_and_averages(precision: torch.dtype | None, averaged: bool) -> None:
    """Held-out losses and previews look at the one or the other alone, so each stays where it is in memory."""
    d = denoiser(precision)
    learner = Learner(MODEL, d.backbone, Train(), CPU)
    ema = EMA(learner.parameters, 0.5)

    def check() -> Tensor:
        with torch.no_grad():
            samples = d(X, T, Cond())
        assert copied_bytes(d) > 0
        # With gradients nothing is kept.
        torch.testing.assert_close(samples, d(X, T, Cond()).detach(), rtol=1e-4, atol=1e-4)
        return samples

    found = []
    for step in range(1, 4):
        learn(learner, d(X, T, Cond()).square().mean())
        ema.update(step)
        with ema.applied() if averaged else nullcontext():
            found.append(check())
    assert min(float((a - b).abs().max()) for a, b in itertools.pairwise(found)) > 1e-3


def test_samples_follow_averages_that_are_set() -> None:
    d = denoiser(None)
    ema, found = EMA(dict(d.backbone.named_parameters()), 0.5), list[Tensor]()
    with torch.no_grad():
        for factor in (1.0, 2.0):
            ema.load({name: factor * p for name, p in d.backbone.named_parameters()})
            with ema.applied():
                found.append(d(X, T, Cond()))
                fresh = copy.deepcopy(d)
                for conv in (m for m in fresh.modules() if isinstance(m, KeepsCopies)):
                    conv.forget_copies()
                torch.testing.assert_close(found[-1], fresh(X, T, Cond()))
    assert not torch.allclose(found[0], found[1])


@pytest.mark.skipif(not available(), reason="this torch has no oneDNN")
def test_packed_weights_follow_steps() -> None:
    torch.manual_seed(0)
    net, packed = nn.Linear(256, 256), PackedWeights()
    learner = Learner(MODEL, net, Train(), CPU)
    x = torch.randn(32, 256)
    for _ in range(2):
        with torch.no_grad(), packed.used(x):
            found = net(x)
        assert packed.nbytes == net.weight.nbytes
        torch.testing.assert_close(found, net(x).detach(), rtol=1e-4, atol=1e-4)
        learn(learner, net(x).square().mean())
