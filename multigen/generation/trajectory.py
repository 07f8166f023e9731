"""From one planned medium to what the driver runs: a trajectory and its guide."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from multigen.core import edits, masks
from multigen.core.caching import Held, cached
from multigen.core.conditioning import Cond
from multigen.core.guides import Answers, Call, Guide, Query, plain, with_calls
from multigen.core.modifiers import fill, observe, posterior, posterior_in_windows, watch
from multigen.core.samplers import NoiseSource, Trajectory, polish
from multigen.core.sliding_window import Crop, sliding_windows
from multigen.generation.caching import caching_of
from multigen.generation.cascade import stage_before
from multigen.generation.finish import finish
from multigen.generation.guidance import guided
from multigen.generation.handover import handed
from multigen.generation.learned_variance import with_learned_variance
from multigen.generation.parts import ModelParts
from multigen.generation.phase import Phase, to_its_end
from multigen.generation.plan import Job, Plan
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
    if plan.swap is not None:
        there = _guide(parts, WindowConds(parts, plan.swap.prompt, plan), plan, phase)
        guide = edits.during(guide, there, plan.swap.low, plan.swap.high)
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
    guide = _told(parts, plan, _wrapped(parts, conds, plan, phase))
    if network := plan.circles.network:
        guide = with_calls(guide, lambda call: call._replace(closed=network))
    if plan.window is not None:  # each window sees its own part
        return guide
    return _informed(parts, plan, phase, guide, lambda x: x)


def _told(parts: ModelParts, plan: Plan, guide: Guide) -> Guide:
    """Its calls carry what the network is told of the size of the medium, and what it hears of what is known."""
    measures = dict(parts.conditioner.measures(plan.media))
    if plan.edit is not None and plan.edit.shown is not None and plan.window is None:
        measures |= plan.edit.shown.heard
    if not measures:
        return guide

    def change(call: Call) -> Call:
        cond = call.cond
        for name, values in measures.items():
            cond = cond.with_extra(name, values)
        return call._replace(cond=cond)

    return with_calls(guide, change)


def _informed(parts: ModelParts, plan: Plan, phase: Phase, guide: Guide, crop: Crop) -> Guide:
    """Its calls carry what `crop` leaves of what the network is shown.

    That is what of the source is kept, where the network takes it, and in a cascade the stage before.
    """
    shown = None if plan.edit is None else plan.edit.shown
    # Inside, so that its channels come before those of the mask, as in training.
    if parts.cascade is not None:
        cascade = parts.cascade
        guide = with_calls(guide, lambda call: call._replace(cond=cascade.told(call.cond, phase.shown, crop)))
    if shown is not None:
        return masks.with_mask_channels(guide, crop(shown.channels(phase.seed)))
    if not parts.recipe.masked:
        return guide
    with torch.no_grad():
        known = parts.codec.unknown(plan.shape).to(parts.device)
    keep = known.new_zeros(1, parts.codec.mask_width, *known.shape[2:])
    return masks.with_mask_channels(guide, crop(torch.cat([keep, known], dim=1)))


def _wrapped(parts: ModelParts, conds: WindowConds, plan: Plan, phase: Phase) -> Guide:
    """The recipe's guide and modifiers, in windows, and around them what a restoration, a trace or an edit adds."""
    guide = _restoring(parts, plan, phase, conds, lambda cond: _watched(parts, cond, plan, phase))
    edit = plan.edit
    if plan.observer is not None:
        # What is asked aside sees the whole medium, for which a window is too small.
        asides = [conditional(parts, plan, prompt) for prompt in plan.asides if plan.window is None]
        maps = plan.window is None
        guide = observe(guide, conds.own, parts.denoiser, plan.observer, maps=maps, others=asides)
    if edit is None:
        return guide
    if edit.keep is not None and not parts.denoiser.backbone.begins:
        guide = fill(guide, edit.x0, edit.keep)
    if edit.invert is None:
        return guide
    source = WindowConds(parts, edit.invert, plan)
    return _by_phase(phase, _windowed(parts, plan, phase, source, lambda cond: plain(cond, cond)), guide)


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
        lambda crop: _informed(parts, plan, phase, make(conds.of(crop)), crop),
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
        return _informed(parts, plan, phase, make(conds.of(crop)), crop)

    circles = plan.circles
    return sliding_windows(one, plan.window, closed=circles.windows, poles=circles.poles)


def _by_phase(phase: Phase, up: Guide, down: Guide) -> Guide:
    def guide(q: Query) -> Answers:
        return (yield from (up if phase.inverting else down)(q))

    return guide


# --- trajectories -----------------------------------------------------------------------------------------------


def _trajectory(parts: ModelParts, plan: Plan, noise: NoiseSource, phase: Phase) -> Trajectory:
    schedule, edit, ts = parts.denoiser.schedule, plan.edit, plan.ts
    if plan.former is not None and parts.cascade is None:
        return _taken_over(parts, plan, noise, phase)
    if edit is None or (edit.strength == 1 and parts.denoiser.backbone.begins):
        return _walk(parts, plan, noise("start", 0) * float(schedule(ts[:1]).sigma), noise)
    if edit.invert is None:
        x = edits.add_noise(schedule, edit.x0, ts[0], noise("start", 0))
        return _walk(parts, plan, x, noise)
    return _there_and_back(parts, plan, edit.x0, noise, phase)


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
