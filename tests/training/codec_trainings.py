"""What holds for every training of a codec."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor

from multigen.training import checkpoint as checkpoints
from multigen.training.learner import optimizer_tensors
from multigen.training.trainer import Trainer


def state(t: Trainer) -> dict[str, Tensor]:
    """Parameters and optimizers of all networks."""
    out = {
        f"{name}.{n}": p.detach().clone() for name, k in t.learners.items() for n, p in k.parameters.items()
    }
    for name, learner in t.learners.items():
        out |= {f"{name}-o.{k}": v for k, v in optimizer_tensors(learner.optimizer).items()}
    return out


def check_goes_on_exactly(folder: Path, make: Callable[[Path], Trainer], learns: Collection[str]) -> None:
    """The parameters that are named learn in six steps, and a run resumed from step 3 ends as the whole one does."""
    whole = make(folder / "whole")
    first = state(whole)
    whole.run()
    last = state(whole)
    for name in learns:
        assert not torch.equal(first[name], last[name])
    resumed = make(folder / "whole")
    resumed.restore(checkpoints.load(folder / "whole" / "checkpoints" / "step-00000003"))
    assert resumed.step == 3
    resumed.run()
    again = state(resumed)
    assert again.keys() == last.keys()
    for name, value in last.items():
        assert torch.equal(value, again[name]), name
