"""The grids of schedulers are those of diffusers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from multigen.core import schedules, timesteps
from multigen.families.schedulers import Pipeline, _of_flow, _solver_of_flow
from multigen.families.schedulers import timesteps as table_steps
from multigen.storage.torchaudio_shim import import_torchaudio

import_torchaudio()

from diffusers import (  # noqa: E402
    CMStochasticIterativeScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

NAME = {"_class_name": "FlowMatchEulerDiscreteScheduler"}


def sigmas(part: Any, shift: float, steps: int, places: int | None = None) -> torch.Tensor:
    schedule = schedules.flow(shift=shift)
    return schedule(timesteps.flow(schedule, steps, places, **part.args)).sigma


@pytest.mark.parametrize("steps", [1, 4, 28])
@pytest.mark.parametrize("options", [{}, {"shift": 3.0}, {"shift": 1.7, "shift_terminal": 0.1}])
def test_fixed_shift(options: dict[str, Any], steps: int) -> None:
    if steps == 1 and "shift_terminal" in options:
        pytest.skip("diffusers divides by 0 there")
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    scheduler.set_timesteps(steps)
    found = _of_flow(NAME | options, "", Pipeline())
    ours = sigmas(found.timesteps, found.schedule.args["shift"], steps)
    np.testing.assert_allclose(ours.numpy(), scheduler.sigmas.numpy(), atol=2e-6)


@pytest.mark.parametrize("law", ["exponential", "linear"])
def test_shift_by_the_number_of_tokens(law: str) -> None:
    options = {"use_dynamic_shifting": True, "time_shift_type": law, "base_shift": 0.6, "max_shift": 1.2}
    scheduler = FlowMatchEulerDiscreteScheduler(**options)
    tokens = 40 * 52
    mu = 0.6 + (1.2 - 0.6) * (tokens - 256) / (4096 - 256)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 10, 10), mu=mu)
    found = _of_flow(NAME | options, "", Pipeline(own_sigmas=True, patch=2))
    np.testing.assert_allclose(
        sigmas(found.timesteps, 1.0, 10, 4 * tokens).numpy(), scheduler.sigmas.numpy(), atol=2e-6
    )


@pytest.mark.parametrize("kind", [UniPCMultistepScheduler, DPMSolverMultistepScheduler])
def test_a_solver_that_walks_a_flow(kind: Any) -> None:
    options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    scheduler = kind(**options)
    scheduler.set_timesteps(10)
    found = _solver_of_flow({"_class_name": kind.__name__, **options}, "")
    np.testing.assert_allclose(sigmas(found.timesteps, 3.0, 10).numpy(), scheduler.sigmas.numpy(), atol=2e-6)


def test_other_schedules_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="this schedule is none: use trailing"):
        timesteps.flow(schedules.scaled_linear(), 4)
    with pytest.raises(ValueError, match="0 < first <= 1, not 1.5"):
        timesteps.flow(schedules.flow(), 4, first=1.5)
    with pytest.raises(ValueError, match="0 < last <= first, not 0.9"):
        timesteps.flow(schedules.flow(), 4, first=0.5, last=0.9)


@pytest.mark.parametrize("steps", [1, 4, 30])
@pytest.mark.parametrize("kind", [EulerDiscreteScheduler, UniPCMultistepScheduler])
def test_evenly_spaced_indices_of_a_table(kind: Any, steps: int) -> None:
    scheduler = kind(timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    part = table_steps({"_class_name": kind.__name__})
    ours = timesteps.linspace(schedules.linear(), steps, **part.args)[:-1] * 1000 - 1
    # UniPC rounds them. Of one step Euler takes index 0, which is no noise: ours is the last.
    if steps > 1 or kind is UniPCMultistepScheduler:
        np.testing.assert_allclose(ours.numpy(), scheduler.timesteps.numpy(), atol=0.51)


@pytest.mark.parametrize("steps", [1, 3, 4, 8])
def test_indices_of_consistency_distillation(steps: int) -> None:
    scheduler = LCMScheduler()
    scheduler.set_timesteps(steps)
    ours = timesteps.trailing(schedules.scaled_linear(), steps, of=50)[:-1] * 1000 - 1
    np.testing.assert_allclose(ours.numpy(), scheduler.timesteps.numpy(), atol=1e-9)
    with pytest.raises(ValueError, match="of: 2 is not allowed. Allowed: 3"):
        timesteps.trailing(schedules.scaled_linear(), 3, of=2)


@pytest.mark.parametrize("steps", [1, 2, 7, 40])
def test_noise_of_consistency_models(steps: int) -> None:
    scheduler = CMStochasticIterativeScheduler()
    scheduler.set_timesteps(steps)
    ts = timesteps.uniform(schedules.edm(), steps, of=40)
    ours = schedules.edm()(ts).sigma
    np.testing.assert_allclose(ours[:-1].numpy(), scheduler.sigmas[:-1].numpy(), rtol=1e-5)
    assert float(ours[-1]) == 0
    with pytest.raises(ValueError, match="of: 1 is not allowed. Allowed: 2"):
        timesteps.uniform(schedules.edm(), 2, of=1)
