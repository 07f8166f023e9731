"""From one planned medium to what the driver runs: a trajectory and its guide."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from multigen.core import edits
from multigen.core.guides import Answers, Guide, Query, with_calls
from multigen.core.samplers import NoiseSource, Trajectory, polish
from multigen.generation.cascade import stage_before
from multigen.generation.edit import EditPlan
from multigen.generation.finish import finish, put_back
from multigen.generation.guiding import guide_of
from multigen.generation.handover import handed
from multigen.generation.learned_variance import with_learned_variance
from multigen.generation.parts import ModelParts
from multigen.generation.phase import Phase, asides, to_its_end
from multigen.generation.plan import Job, Plan
from multigen.generation.purify import purified
from multigen.generation.stages import condition, stage_noise
from multigen.generation.window_conds import WindowConds


def trajectory(parts: ModelParts, job: Job) -> tuple[Trajectory, Guide]:
    """The sampler's walk and the guide of one medium. RecipeError where the recipe's parts refuse it.

    Of a cascade that is the walk of the stage before, then this one's, under the guide of each.
    """
    plan = job.plan
    if plan.cleaning is not None:
        return _cleaned(parts, job, plan.cleaning)
    phase = Phase(plan.edit is not None and plan.edit.invert is not None, [], job.seed)
    walk, guide = _own(parts, job, phase)
    given = _given(parts, plan)
    if given is not None:
        with torch.no_grad():
            phase.condition = condition(parts, job, given)
        return walk, guide
    return (walk, guide) if plan.former is None else _after(parts, job, phase, walk, guide)


def _given(parts: ModelParts, plan: Plan) -> Tensor | None:
    """What a request gives in place of the stage before, [1, C, *d]."""
    if plan.enlarged is not None:
        return plan.enlarged.seen[None].to(parts.device)
    if plan.embedded is None:
        return None
    here = plan.embedded.embedding
    if plan.blend is None or plan.blend.embedded is None:
        return here
    return edits.slerp(here[0], plan.blend.embedded.embedding[0], plan.blend.share)[None]


def _own(parts: ModelParts, job: Job, phase: Phase) -> tuple[Trajectory, Guide]:
    """The walk and the guide of the model's own network."""
    plan = job.plan
    guide = guide_of(parts, WindowConds(parts, job.prompt, plan), plan, phase)
    if plan.swap is not None:
        there = guide_of(parts, WindowConds(parts, plan.swap.prompt, plan), plan, phase)
        guide = edits.during(guide, there, plan.swap.low, plan.swap.high)
    noise, guide = with_learned_variance(parts, plan, stage_noise(parts, plan, job.seed), guide)
    if plan.blend is None:
        return to_its_end(_trajectory(parts, plan, noise, phase), plan, phase), guide
    other, share = plan.blend, plan.blend.share
    if job.prompt != other.prompt:
        there = guide_of(parts, WindowConds(parts, other.prompt, plan), plan, phase)
        guide = edits.interpolate_guides(guide, there, share)
    beyond = stage_noise(parts, plan, other.seed)

    def between(purpose: str, index: int) -> Tensor:
        rows = zip(noise(purpose, index), beyond(purpose, index), strict=True)
        return torch.stack([edits.slerp(a, b, share) for a, b in rows])

    return to_its_end(_trajectory(parts, plan, between, phase), plan, phase), guide


def _cleaned(parts: ModelParts, job: Job, cleaning: Plan) -> tuple[Trajectory, Guide]:
    """The walk and the guide that purify the condition, then those of the medium that follows it."""
    own, phase = Job("", job.seed, cleaning), Phase(False, [], job.seed)
    first, later = guide_of(parts, WindowConds(parts, "", cleaning), cleaning, phase), list[Guide]()
    streams = stage_noise(parts, cleaning, job.seed)

    def own_noise(purpose: str, index: int) -> Tensor:  # no stream of the medium itself, which may be an edit
        return streams(f"condition {purpose}", index)

    noise, first = with_learned_variance(parts, cleaning, own_noise, first)

    def walks() -> Trajectory:
        assert cleaning.edit is not None
        walk = purified(parts, cleaning.sampler, cleaning.edit, noise)
        pure = put_back(parts, (yield from asides(to_its_end(walk, cleaning, phase)))[0], own)
        options = parts.conditioner.with_pure(job.plan.options, pure)
        options = parts.conditioner.opened(options, job.plan.media)
        plan = dataclasses.replace(job.plan, options=options, cleaning=None)
        walk, guide = trajectory(parts, job._replace(plan=plan))
        later.append(guide)
        return (yield from walk)

    def guides(q: Query) -> Answers:
        return (yield from (later[0] if later else first)(q))

    return walks(), guides


def _after(
    parts: ModelParts, job: Job, phase: Phase, walk: Trajectory, guide: Guide
) -> tuple[Trajectory, Guide]:
    """The walk and the guide of the stage before, then those given; the medium between them is their condition."""
    assert job.plan.former is not None
    before, earlier = stage_before(parts), Job(job.prompt, job.seed, job.plan.former)
    first, first_guide = trajectory(before, earlier)
    first_guide = with_calls(
        first_guide, lambda call: call._replace(denoiser=call.denoiser or before.denoiser)
    )

    def walks() -> Trajectory:
        x = yield from first
        if parts.cascade is None:
            phase.condition = handed(parts, before, x, earlier.plan.ts[-1], job.plan.ts[0])
        else:
            medium = before.modality.convert(finish(before, x[0], earlier).checked().tensor, parts.modality)
            phase.condition = condition(parts, job, medium[None].to(parts.device))
        return (yield from walk)

    def guides(q: Query) -> Answers:
        return (yield from (first_guide if phase.condition is None else guide)(q))

    return walks(), guides


def _trajectory(parts: ModelParts, plan: Plan, noise: NoiseSource, phase: Phase) -> Trajectory:
    schedule, edit, ts = parts.denoiser.schedule, plan.edit, plan.ts
    if plan.former is not None and parts.cascade is None:
        return _taken_over(parts, plan, noise, phase)
    if edit is None or (edit.strength == 1 and parts.denoiser.backbone.begins):
        return _walk(parts, plan, noise("start", 0) * float(schedule(ts[:1]).sigma), noise)
    return _edited(parts, plan, edit, noise, phase)


def _edited(parts: ModelParts, plan: Plan, edit: EditPlan, noise: NoiseSource, phase: Phase) -> Trajectory:
    """From the source, purified where that is asked for, or from the noise that leads to it."""
    if edit.purifying is not None:
        phase.purified = yield from purified(parts, plan.sampler, edit, noise)
    if edit.invert is not None:
        return (yield from _there_and_back(parts, plan, phase.source(edit), noise, phase))
    x = edits.add_noise(parts.denoiser.schedule, phase.source(edit), plan.ts[0], noise("start", 0))
    return (yield from _walk(parts, plan, x, noise))


def _taken_over(parts: ModelParts, plan: Plan, noise: NoiseSource, phase: Phase) -> Trajectory:
    """On from the sample that the stage before hands over."""
    return (yield from _walk(parts, plan, phase.shown, noise))


def _there_and_back(
    parts: ModelParts, plan: Plan, x0: Tensor, noise: NoiseSource, phase: Phase
) -> Trajectory:
    """Up in noise from the source, then down again under the request's guide."""
    schedule, rising = parts.denoiser.schedule, plan.ts.flip(0)
    # Not from the data themselves, which hold no noise to enlarge.
    rising = rising if float(rising[0]) > 0 else torch.cat([rising[1:2] / 10, rising[1:]])
    parts.denoiser.remember(rising[:1])
    alpha = float(schedule(rising[:1]).alpha)
    x = yield from edits.invert(schedule, x0 * alpha, rising)
    phase.inverting = False
    return (yield from _walk(parts, plan, x, noise))


def _walk(parts: ModelParts, plan: Plan, x: Tensor, noise: NoiseSource) -> Trajectory:
    """From x at ts[0] to the end of the grid, each step as often as the edit says, and polished."""
    schedule, edit = parts.denoiser.schedule, plan.edit
    if edit is None or edit.resample == 1:
        walk = plan.sampler(schedule, x, plan.ts, noise)
    else:
        walk = edits.resample(plan.sampler, schedule, x, plan.ts, noise, times=edit.resample)
    return polish(walk, schedule, passes=plan.polish.passes, noise=plan.polish.noise)
