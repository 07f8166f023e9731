"""Networks that learned how much noise a step of ancestral sampling adds (Nichol & Dhariwal 2021, arXiv:2102.09672).

With v of the network, a share f = (v + 1)/2 between the logarithms of the lower and the upper bound of the variance
(eq. 15), c the lower bound's deviation as samplers have it, and sigma_t/sigma_s the ratio of the bounds' deviations:

    noise = c (sigma_t/sigma_s)^f z
"""

from __future__ import annotations

from torch import Tensor

from multigen.core.backbone import Taps
from multigen.core.guides import Answers, Call, Guide, Query, relayed
from multigen.core.samplers import NoiseSource
from multigen.generation.parts import ModelParts
from multigen.generation.plan import Plan

_ANCESTRAL = ("ddpm", "euler_ancestral")  # whose noise is of the lower bound


def with_learned_variance(
    parts: ModelParts, plan: Plan, noise: NoiseSource, guide: Guide
) -> tuple[NoiseSource, Guide]:
    """The noise and the guide of a medium, the noise of each step scaled as the conditional answer before it says.

    They stay as they are with other samplers, with networks that learned none, and where a step has several answers:
    in windows, on the way from one request to another, and in restorations.
    """
    several = plan.window is not None or plan.blend is not None or plan.known is not None
    if several or plan.recipe.sampler.name not in _ANCESTRAL or not parts.denoiser.backbone.learned_variance:
        return noise, guide
    sigma = parts.denoiser.schedule(plan.ts.double()).sigma.tolist()
    said: dict[float, Tensor] = {}  # by the time of the query, v [1, C, *D]

    def guided(q: Query) -> Answers:
        channels, first = q.x.shape[1], True

        def sent(calls: list[Call]) -> list[Call]:
            return [call._replace(taps=(call.taps or Taps())._replace(variance=True)) for call in calls]

        def answered(calls: list[Call], answers: list[Tensor]) -> list[Tensor]:
            nonlocal first
            if first and answers:
                said.clear()
                said[float(q.t)] = answers[0][:, channels:]
            first = False
            return [answer[:, :channels] for answer in answers]

        return (yield from relayed(guide(q), sent, answered))

    def scaled(purpose: str, index: int) -> Tensor:
        drawn = noise(purpose, index)
        v = said.get(float(plan.ts[index])) if purpose == "step" and index + 1 < len(sigma) else None
        if v is None or sigma[index + 1] <= 0:
            return drawn
        return drawn * (sigma[index] / sigma[index + 1]) ** ((v + 1) / 2)

    return scaled, guided
