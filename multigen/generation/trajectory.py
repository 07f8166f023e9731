"""From one planned medium to what the driver runs: a trajectory and its guide."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core import edits
from multigen.core.caching import Held, cached
from multigen.core.conditioning import Cond
from multigen.core.guides import Answers, Guide, Query, plain, with_calls
from multigen.core.modifiers import fill, observe, posterior, posterior_in_windows, watch
from multigen.core.samplers import NoiseSource, Trajectory, polish
from multigen.core.sliding_window import Crop, sliding_windows
from multigen.generation.caching import OFF, caching_of
from multigen.generation.cascade import stage_before
from multigen.generation.edit import EditPlan
from multigen.generation.finish import finish
from multigen.generation.guidance import guided
from multigen.generation.handover import handed
from multigen.generation.informed import informed, told
from multigen.generation.learned_variance import with_learned_variance
from multigen.generation.parts import ModelParts
from multigen.generation.phase import Phase, to_its_end
from multigen.generation.plan import Job, Plan
from multigen.generation.purify import purified
from multigen.generation.stages import condition, stage_noise
from multigen.generation.window_conds import WindowConds, conditional, unconditional


def trajectory(parts: ModelParts, job: Job) -> tuple[Trajectory, Guide]:
    """The sampler's walk and the guide of one medium. RecipeError where the recipe's parts refuse it.

    Of a cascade that is the walk of the stage before, then this one's, under the guide of each.
    """
    plan = job.plan
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
    guide = _guide(parts, WindowConds(parts, job.prompt, plan), plan, phase)
    noise, guide = with_learned_variance(parts, plan, stage_noise(parts, plan, job.seed), guide)
    if plan.blend is None:
        return to_its_end(_trajectory(parts, plan, noise, phase), plan, phase), guide
    other, share = plan.blend, plan.blend.share
    if job.prompt != other.prompt:
        there = _guide(parts, WindowConds(parts, other.prompt, plan), plan, phase)
        guide = edits.interpolate_guides(guide, there, share)
    beyond = stage_noise(parts, plan, other.seed)

    def between(purpose: str, index: int) -> Tensor:
        rows = zip(noise(purpose, index), beyond(purpose, index), strict=True)
        return torch.stack([edits.slerp(a, b, share) for a, b in rows])

    return to_its_end(_trajectory(parts, plan, between, phase), plan, phase), guide


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


# --- guides -----------------------------------------------------------------------------------------------------


def _guide(parts: ModelParts, conds: WindowConds, plan: Plan, phase: Phase) -> Guide:
    """The guide of a request; a network that was trained to inpaint sees what is kept in every call."""
    guide = told(parts, plan, _wrapped(parts, conds, plan, phase))
    if network := plan.circles.network:
        guide = with_calls(guide, lambda call: call._replace(closed=network))
    if plan.window is not None:  # each window sees its own part
        return guide
    return informed(parts, plan, phase, guide, lambda x: x)


def _wrapped(parts: ModelParts, conds: WindowConds, plan: Plan, phase: Phase) -> Guide:
    """The recipe's guide and modifiers, in windows, and around them what a restoration, a trace or an edit adds."""
    guide = _restoring(parts, plan, phase, conds, lambda cond: _watched(parts, cond, plan, phase))
    edit = plan.edit
    if plan.observer is not None:
        # Attention is recorded in full calls alone, and those of a cache would be others.
        maps = plan.cache == OFF
        guide = observe(guide, conds.own, parts.denoiser, plan.observer, maps=maps)
    if edit is None:
        return guide
    if edit.keep is not None and not parts.denoiser.backbone.begins:
        guide = _kept(guide, edit, edit.keep, phase)
    if edit.invert is not None:
        source = WindowConds(parts, edit.invert, plan)
        up = _windowed(parts, plan, phase, source, lambda cond: plain(cond, cond))
        guide = _chosen(lambda: phase.inverting, up, guide)
    if edit.purifying is None:
        return guide
    null = unconditional(parts, dataclasses.replace(plan, negative_prompt=""))

    def alone(cond: Cond) -> Guide:
        return plain(null.without_grid(cond), null.without_grid(cond))

    return _chosen(lambda: phase.purifies(edit), _windowed(parts, plan, phase, conds, alone), guide)


def _kept(guide: Guide, edit: EditPlan, keep: Tensor, phase: Phase) -> Guide:
    """The guide with what is kept of the source as that conditions."""
    if edit.purifying is None:
        return fill(guide, edit.x0, keep)

    def filled(q: Query) -> Answers:
        return (yield from fill(guide, phase.source(edit), keep)(q))

    return filled


def _watched(parts: ModelParts, cond: Cond, plan: Plan, phase: Phase) -> Guide:
    """The recipe's guide, which notes where it leaves what the network was trained on."""
    guide = _recipe_guide(parts, cond, plan, phase)
    if plan.guide.name == "plain" or any(part.name in ("within", "interval") for part in plan.modifiers):
        return guide
    return watch(guide, cond, parts.denoiser, lambda far, snr: phase.noted.append((far, snr)))


def _recipe_guide(parts: ModelParts, cond: Cond, plan: Plan, phase: Phase) -> Guide:
    guide = guided(
        plan.guide,
        plan.modifiers,
        cond=cond,
        null=unconditional(parts, plan).without_grid(cond),
        denoiser=parts.denoiser,
        encode=lambda prompt: conditional(parts, plan, prompt).with_grid_of(cond),
        load=parts.load_denoiser,
    )
    phase.held.append(held := Held())
    return cached(guide, cond, parts.denoiser, caching_of(parts, plan.cache), held)


def _restoring(
    parts: ModelParts, plan: Plan, phase: Phase, conds: WindowConds, make: Callable[[Cond], Guide]
) -> Guide:
    """The guide in windows, corrected by what is known of a medium that is restored."""
    known = plan.known
    if known is None:
        return _windowed(parts, plan, phase, conds, make)
    settings = {
        "gain": known.operator.gain,
        "noise": known.noise * known.operator.deviation,
        "sigma_data": parts.codec.sigma_data,
    }
    if plan.window is None:
        return posterior(make(conds.own), parts.denoiser, known.operator, known.values, **settings)
    return posterior_in_windows(
        lambda crop: informed(parts, plan, phase, make(conds.of(crop)), crop),
        plan.window,
        parts.denoiser,
        known.operator,
        known.values,
        **settings,
    )


def _windowed(
    parts: ModelParts, plan: Plan, phase: Phase, conds: WindowConds, make: Callable[[Cond], Guide]
) -> Guide:
    """One guide, or one for each window where the medium is larger than the model's own size."""
    if plan.window is None:
        return make(conds.own)

    def one(crop: Crop) -> Guide:
        return informed(parts, plan, phase, make(conds.of(crop)), crop)

    circles = plan.circles
    return sliding_windows(one, plan.window, closed=circles.windows, poles=circles.poles)


def _chosen(first: Callable[[], bool], one: Guide, other: Guide) -> Guide:
    """One guide while `first` holds, then another."""

    def guide(q: Query) -> Answers:
        return (yield from (one if first() else other)(q))

    return guide


# --- trajectories -----------------------------------------------------------------------------------------------


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
