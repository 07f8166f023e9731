"""A sampler of your own: the midpoint method, second order, two network calls a step.

It takes a first-order step to the middle of each interval in lambda = log(alpha/sigma), asks the network there, and
takes the whole step with that answer (DPM-Solver++ 2S with r = 1/2: Lu et al. 2022, arXiv:2211.01095, algorithm 1).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

import multigen
from multigen.core import Query, Schedule
from multigen.core.samplers import NoiseSource, Trajectory, transfer


@multigen.register("sampler", "midpoint")
def midpoint(schedule: Schedule, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """Second order between the ends; a step from pure noise or to the data is first order."""
    for t, s in pairwise(ts):
        x0 = yield Query(x, t)
        middle = (schedule.log_snr(t) + schedule.log_snr(s)) / 2
        if middle.isfinite():
            m = schedule.inverse(middle)
            x0 = yield Query(transfer(schedule, x, x0, t, m), m)
        x = transfer(schedule, x, x0, t, s)
    return x


def main(n: int = 4, steps: int = 8, reference_steps: int = 100) -> dict[str, float]:
    """How far samples of few steps are from those of many: root mean square, by sampler."""
    model = multigen.load("image_digits")

    def made(sampler: str, steps: int) -> list[Tensor]:
        override = (f"sampler.name={sampler}",)
        request = multigen.Request("7", seed=0, steps=steps, overrides=override)
        return [medium.tensor for _, medium in sorted(model.batcher([request], n=n))]

    exact = made("heun", reference_steps)
    distance = {}
    for sampler, calls in {"ddim": 1, "midpoint": 2}.items():
        pairs = zip(made(sampler, steps // calls), exact, strict=True)
        distance[sampler] = sum(float((a - b).square().mean()) for a, b in pairs) ** 0.5 / n**0.5
    return distance


if __name__ == "__main__":
    for sampler, distance in main().items():
        print(f"{sampler:10} {distance:.3f} from the exact samples, after 8 network calls")
