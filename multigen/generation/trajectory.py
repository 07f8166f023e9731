"""From what a user asks of a model to what the driver runs: a trajectory and its guide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multigen import registry
from multigen.core import edits, masks
from multigen.core.conditioning import Cond
from multigen.core.guides import Answers, Guide, Query, plain
from multigen.core.modifiers import fill, noted, posterior
from multigen.core.noise import Noise
from multigen.core.samplers import NoiseSource, Trajectory, polish_time, polished, takes_one_sample
from multigen.errors import MultigenError, RecipeError, message, refused
from multigen.generation.guidance import guided
from multigen.generation.request import Ask, Job
from multigen.recipe.schema import Polish, Recipe
from multigen.registry import Part

if TYPE_CHECKING:
    from multigen.generation.generate import Maker

# Samplers that draw fresh noise on their way, and those that walk the same steps without it.
DETERMINISTIC = {
    "ddim": "ddim", "ddpm": "ddim", "euler_ancestral": "euler",
    "edm": "heun", "restart": "heun", "dpmpp_2m_sde": "dpmpp_2m",
}  # fmt: skip


def trajectories(model: Maker, jobs: Sequence[Job], ask: Ask) -> list[tuple[Trajectory, Guide]]:
    """A batch of a request: one trajectory, or one for each job where the sampler takes one sample."""
    alone = takes_one_sample(registry.find("sampler", ask.recipe.sampler.name))
    return [trajectory(model, part, ask) for part in ([[job] for job in jobs] if alone else [jobs])]


def trajectory(model: Maker, jobs: Sequence[Job], ask: Ask) -> tuple[Trajectory, Guide]:
    """One batch of a request. RecipeError where the recipe's parts refuse it."""
    ts = grid(model, ask.recipe.timesteps, ask.steps)
    ts = ts if ask.edit is None else edits.tail(ts, ask.edit.strength)
    noise = Noise([seed for _, seed in jobs], ask.shape, model.device)
    cond = model.encode(*(prompt for prompt, _ in jobs))
    phase = _Phase(inverting=ask.edit is not None and ask.edit.invert is not None)
    guide = _guide(model, cond, ask, phase)
    if ask.blend is None:
        return _trajectory(model, ask, ts, noise, phase, len(jobs)), guide
    other, share = ask.blend, ask.blend.share
    if any(prompt != other.prompt for prompt, _ in jobs):
        there = model.encode(*[other.prompt] * len(jobs))
        guide = edits.mixed(guide, _guide(model, there, ask, phase), share)
    beyond = Noise([other.seed] * len(jobs), ask.shape, model.device)

    def between(purpose: str, index: int) -> Tensor:
        rows = zip(noise(purpose, index), beyond(purpose, index), strict=True)
        return torch.stack([edits.slerp(a, b, share) for a, b in rows])

    return _trajectory(model, ask, ts, between, phase, len(jobs)), guide


def grid(model: Maker, part: Part, steps: int) -> Tensor:
    """The grid of times, float64 [steps + 1]. RecipeError where the timesteps do not go with the schedule."""
    timesteps = registry.build("timesteps", part, where="timesteps")
    try:
        ts: Tensor = timesteps(model.denoiser.schedule, steps)
        model.denoiser.remember(ts)
    except ValueError as error:
        raise RecipeError(f"timesteps ({part.name}): {error}") from error
    return ts


def check_polish(model: Maker, polish: Polish) -> None:
    """RecipeError where the schedule does not have the level of noise that is polished at."""
    if polish.passes:
        with refused("sample.polish.noise", RecipeError):
            polish_time(model.denoiser.schedule, polish.noise)


def exact(recipe: Recipe) -> Recipe:
    """As it goes back after an inversion: fresh noise or polish would not find the source again."""
    name = DETERMINISTIC.get(recipe.sampler.name)
    sampler = recipe.sampler if name is None else Part(name)
    polish = dataclasses.replace(recipe.sample.polish, passes=0)
    return dataclasses.replace(
        recipe, sampler=sampler, sample=dataclasses.replace(recipe.sample, polish=polish)
    )


def guide_part(guide: Part, scale: float | None) -> Part:
    """The guide under another scale; MultigenError if it has none. A plain one becomes cfg."""
    if scale is None:
        return guide
    if not math.isfinite(scale):
        raise MultigenError(f"scale: {scale} is not allowed; give a finite number")
    name = "cfg" if guide.name == "plain" else guide.name
    allowed = [a.name for a in registry.arguments("guide", name, "guide")]
    if "scale" not in allowed:
        raise MultigenError(message("scale", scale, allowed, hint=f"The guide {name} has no scale."))
    return Part(name, {**guide.args, "scale": float(scale)})


@dataclass
class _Phase:
    """Where a trajectory stands: its guide differs on the way up."""

    inverting: bool


def _guide(model: Maker, cond: Cond, ask: Ask, phase: _Phase) -> Guide:
    """The guide of a request; the calls of a network that was trained to fill see what is known."""
    guide = _unseeing(model, cond, ask, phase)
    if ask.window is not None:  # each window sees its own part
        return guide
    return _seeing(model, ask, guide, lambda x: x)


def _seeing(model: Maker, ask: Ask, guide: Guide, crop: edits.Crop) -> Guide:
    """Its calls see what `crop` leaves of the source and of what is kept of it, where the network is one that looks."""
    if not model.recipe.masked:
        return guide
    edit = ask.edit
    if edit is None or edit.keep is None:
        return masks.informed(guide)
    return masks.informed(guide, crop(edit.x0), crop(edit.keep[None, None]))


def _unseeing(model: Maker, cond: Cond, ask: Ask, phase: _Phase) -> Guide:
    recipe = ask.recipe
    negative = recipe.sample.negative_prompt if ask.negative is None else ask.negative
    with torch.no_grad():
        null = model.encode(negative) if negative else model.conditioner.null(1).to(model.device)

    def make() -> Guide:
        return guided(
            guide_part(recipe.guide, ask.scale),
            recipe.modifiers,
            cond=cond,
            null=null,
            denoiser=model.denoiser,
            encode=model.encode,
            load=model.weaker,
        )

    def whole(maker: Callable[[], Guide]) -> Guide:
        if ask.window is None:
            return maker()
        return edits.windows(lambda crop: _seeing(model, ask, maker(), crop), ask.window, wrap=ask.wrap)

    guide, edit = whole(make), ask.edit
    if ask.known is not None:
        known = ask.known
        guide = posterior(
            guide, model.denoiser, known.operator, known.values,
            gain=known.operator.gain, noise=known.noise * known.operator.deviation, spread=model.codec.spread,
        )  # fmt: skip
    if ask.note is not None:
        guide = noted(guide, cond, model.denoiser, ask.note)
    if edit is None:
        return guide
    if edit.keep is not None:
        guide = fill(guide, edit.x0, edit.keep)
    if edit.invert is None:
        return guide
    source = model.encode(edit.invert)
    up = whole(lambda: plain(source, source))

    def either(q: Query) -> Answers:
        return (yield from (up if phase.inverting else guide)(q))

    return either


def _trajectory(
    model: Maker, ask: Ask, ts: Tensor, noise: NoiseSource, phase: _Phase, batch: int
) -> Trajectory:
    schedule, edit = model.denoiser.schedule, ask.edit
    if edit is None:
        return _walk(model, ask, noise("start", 0) * float(schedule(ts[:1]).sigma), ts, noise)
    x0 = edit.x0.expand(batch, *edit.x0.shape[1:])
    if edit.invert is None:
        x = edits.start(schedule, x0, ts[0], noise("start", 0))
        return _walk(model, ask, x, ts, noise)

    def there_and_back() -> Trajectory:
        rising = ts.flip(0)
        # Not from the data themselves, which hold no noise to enlarge.
        rising = rising if float(rising[0]) > 0 else torch.cat([rising[1:2] / 10, rising[1:]])
        model.denoiser.remember(rising[:1])
        alpha = float(schedule(rising[:1]).alpha)
        x = yield from edits.invert(schedule, x0 * alpha, rising)
        phase.inverting = False
        return (yield from _walk(model, ask, x, ts, noise))

    return there_and_back()


def _walk(model: Maker, ask: Ask, x: Tensor, ts: Tensor, noise: NoiseSource) -> Trajectory:
    """From x at ts[0] to the end of the grid, each step as often as the edit says, and polished."""
    sampler, schedule = (
        registry.build("sampler", ask.recipe.sampler, where="sampler"),
        model.denoiser.schedule,
    )
    edit, polish = ask.edit, ask.recipe.sample.polish
    if edit is None or edit.resample == 1:
        way = sampler(schedule, x, ts, noise)
    else:
        way = edits.resampled(sampler, schedule, x, ts, noise, times=edit.resample)
    return polished(way, schedule, passes=polish.passes, noise=polish.noise)
