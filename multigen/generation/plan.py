"""Plans: what a request becomes for one model, resolved and checked once, before any network call."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import Tensor

from multigen import registry
from multigen.conditioners import Heard
from multigen.core.edits import Sampler
from multigen.core.modifiers import Observer
from multigen.errors import MultigenError, errors_at
from multigen.generation.asked_texts import asked_texts
from multigen.generation.caching import OFF, plan_cache
from multigen.generation.cascade import Enlarged, check_stages, former_request, own_request, stage_before
from multigen.generation.circles import Circles
from multigen.generation.counts import check_counts, first_seed
from multigen.generation.declared import Opener
from multigen.generation.edit import EditPlan, Start
from multigen.generation.grid import grid
from multigen.generation.guidance import asked_guide, check_negative
from multigen.generation.handover import check_space, earlier, takes_over, walked
from multigen.generation.heard import Hearing, heard_in
from multigen.generation.parts import ModelParts, check_prompt, warn_of_novelty
from multigen.generation.pictures import Embedded, Pictures, plan_embedded, plan_pictures
from multigen.generation.polishing import check_polish
from multigen.generation.purify import cleaning_request, purified_plan, said_of_condition
from multigen.generation.queries import count_queries, purifying_queries
from multigen.generation.request import Request
from multigen.generation.restore import Known
from multigen.generation.shared import deterministic, request_recipe
from multigen.generation.sizes import with_extent
from multigen.generation.space import space_of
from multigen.generation.start import media_of, start_of
from multigen.generation.swap import Swap
from multigen.recipe.schema import Polish, Recipe
from multigen.registry import Part


@dataclass(frozen=True)
class Blend:
    """How far a medium lies on the way from its own prompt, seed and picture (0) to others (1)."""

    prompt: str
    seed: int
    share: float
    embedded: Embedded | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """What the media of a request have in common.

    shape      of a medium in model space, [C, *D]
    media      of the medium itself, a part of what the codec makes of that
    ts         the grid of times that the sampler walks, float64 [n+1], falling
    sampler, guide, modifiers, polish
               the recipe's, under the request's overrides and guidance scale
    negative_prompt
               what guidance leads away from; "" is the null condition
    calls      how many queries the sampler makes; None where it chooses its steps itself
    cache      what is reused from query to query
    window     sizes of the windows in which larger media are made
    circles    which ends meet
    options    values of what the model declares, what they name read
    heard      those among them that the medium of the edit told
    edit       what the medium is made from; known: what is known of one that is restored; blend: a second end
    observer   hears of every answered query, and of x0 for `asides`, prompts that are also asked for
    swap       another prompt during a part of the way
    cleaning   how the condition is purified before anything else: an edit's plan whose source it is
    former     in a cascade, how the stage before makes the medium that this one sees
    enlarged   or the medium that is given for it
    pictures   that lead the network
    embedded   or whose embedding takes the place of what a prior makes
    request    that was planned
    """

    recipe: Recipe
    shape: tuple[int, ...]
    media: tuple[int, ...]
    ts: Tensor
    sampler: Sampler
    guide: Part
    modifiers: tuple[Part, ...]
    polish: Polish
    negative_prompt: str
    calls: int | None
    cache: Part = OFF
    window: tuple[int, ...] | None = None
    circles: Circles = field(default_factory=Circles)
    options: Mapping[str, Any] = field(default_factory=dict)
    heard: Mapping[str, Heard] = field(default_factory=dict)
    edit: EditPlan | None = None
    known: Known | None = None
    blend: Blend | None = None
    observer: Observer | None = None
    asides: tuple[str, ...] = ()
    swap: Swap | None = None
    cleaning: Plan | None = None
    former: Plan | None = None
    enlarged: Enlarged | None = None
    pictures: Pictures | None = None
    embedded: Embedded | None = None
    request: Request | None = None

    @property
    def queries(self) -> int:
        """How many queries the sampler makes, `calls`, or where it chooses its steps itself the grid's steps."""
        return len(self.ts) - 1 if self.calls is None else self.calls

    @property
    def depth(self) -> int:
        """How many stages come before it."""
        return 0 if self.former is None else 1 + self.former.depth

    def blended(self, blend: Blend, end: Plan) -> Plan:
        """The same with a second end, for every stage; `end`: the plan of that."""
        former = self.former
        if former is not None and end.former is not None:
            former = former.blended(blend, end.former)
        blend = dataclasses.replace(blend, embedded=end.embedded)
        return dataclasses.replace(self, blend=blend, former=former)


class Job(NamedTuple):
    """One medium: its prompt and seed, the plan that it shares with others of its request, and which try it is."""

    prompt: str
    seed: int
    plan: Plan
    attempt: int = 0


def plan(
    parts: ModelParts,
    request: Request,
    until: Callable[[Tensor], Tensor] | None = None,
    opener: Opener | None = None,
) -> Plan:
    """Resolve a request. MultigenError for what does not fit the model, before any network call.

    until   cuts the grid of a model that hands its sample over; `opener` has read what earlier requests' options name
    """
    found = _plan(parts, request, until, opener)
    edit = cleaning_request(parts, request, found.options)
    if edit is None:
        return found
    with said_of_condition():
        cleaning = _plan(parts, edit)
    more = purifying_queries(parts, cleaning.sampler, cleaning.edit)
    calls = None if found.calls is None or cleaning.calls is None else found.calls + more
    return dataclasses.replace(found, cleaning=cleaning, calls=calls)


def _plan(
    parts: ModelParts,
    request: Request,
    until: Callable[[Tensor], Tensor] | None = None,
    opener: Opener | None = None,
) -> Plan:
    """As `plan`, whatever the conditions are."""
    asked, request = request, own_request(parts, request)
    recipe = request_recipe(parts, request)
    guide = asked_guide(recipe, request.guidance_scale)
    check_polish(parts, recipe.sample.polish)
    start = start_of(parts, recipe, request)
    edit = start.edit
    recipe = recipe if edit is None or edit.invert is None else deterministic(recipe)
    with errors_at("size or duration" if request.edit is None else "the medium"):
        start, shape, places, circles = space_of(parts, start, request, (guide, *recipe.modifiers))
    times = functools.partial(grid, parts, recipe.timesteps, places=places)
    ts, polish = _walked(parts, recipe, request, edit, times(_steps(recipe, request)), until)
    edit = purified_plan(parts, edit, request.edit, times, _steps(recipe, request))
    sampler = registry.build("sampler", recipe.sampler, where="sampler")
    embedded, media = plan_embedded(parts, request), media_of(start)
    former = _former(parts, asked, start, embedded) or _handing(parts, asked, shape, ts)
    found = Plan(
        recipe=recipe,
        shape=shape,
        media=media,
        ts=ts,
        sampler=sampler,
        guide=guide,
        modifiers=recipe.modifiers,
        polish=polish,
        negative_prompt=_negative(recipe, request, guide),
        calls=_together(count_queries(parts, recipe, sampler, ts, edit, len(shape), polish.passes), former),
        cache=plan_cache(parts, recipe, request),
        window=start.window,
        circles=circles,
        options=(opener or Opener(parts))(recipe, request, media),
        edit=edit,
        known=start.known,
        former=former,
        enlarged=start.enlarged,
        pictures=plan_pictures(parts, request, shape),
        embedded=embedded,
        request=asked,
    )
    return _with_heard(parts, found)


def _with_heard(parts: ModelParts, plan: Plan) -> Plan:
    heard = heard_in(parts, plan.edit, plan.options)
    options = {**plan.options, **{name: one.value for name, one in heard.items()}}
    return dataclasses.replace(plan, options=options, heard=heard) if heard else plan


def _steps(recipe: Recipe, request: Request) -> int:
    """How many steps a medium takes. MultigenError for fewer than one."""
    steps = recipe.sample.steps if request.steps is None else request.steps
    if steps < 1:
        raise MultigenError(f"steps: {steps} is not allowed; give 1 or more")
    return steps


def _walked(
    parts: ModelParts,
    recipe: Recipe,
    request: Request,
    edit: EditPlan | None,
    times: Tensor,
    until: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Polish]:
    """The times that the sampler walks, as far as the model goes itself, and what polishes its medium there."""
    ts, polish = walked(parts, recipe, request, edit, times)
    return (ts, polish) if until is None else (until(ts), dataclasses.replace(polish, passes=0))


def _negative(recipe: Recipe, request: Request, guide: Part) -> str:
    """The negative prompt. MultigenError for one that has no effect."""
    negative = recipe.sample.negative_prompt if request.negative_prompt is None else request.negative_prompt
    check_negative(guide, negative)
    return negative


def _together(own: int | None, former: Plan | None) -> int | None:
    """How many queries a medium takes, with those of the stages before; None where one chooses its steps itself."""
    before = 0 if former is None else former.calls
    return None if own is None or before is None else own + before


def _former(parts: ModelParts, asked: Request, start: Start, embedded: Embedded | None) -> Plan | None:
    """The plan of the stage before, if there is one and no medium takes its place."""
    if parts.cascade is None or start.enlarged is not None or embedded is not None:
        return None
    return plan(stage_before(parts), former_request(parts, asked, start.shape))


def _handing(parts: ModelParts, asked: Request, shape: tuple[int, ...], ts: Tensor) -> Plan | None:
    """The plan of the stage before that hands its sample over where `ts` begins, if there is one."""
    if not takes_over(parts, asked):
        return None
    before = stage_before(parts)
    schedule, recipe = before.denoiser.schedule, request_recipe(parts, asked)
    request = dataclasses.replace(
        asked, sampler=None, overrides=(), images=(), steps=asked.steps or recipe.sample.steps
    )
    former = plan(before, request, lambda grid: earlier(schedule, recipe, grid, parts, ts[0]))
    check_space(parts, shape, former.shape)
    return former


def jobs(
    parts: ModelParts, requests: Sequence[Request | str], n: int, seed: int, first: int = 0
) -> list[Job]:
    """Each request `n` times: the seeds count on from its own, or from `seed` + its place among all media.

    Requests that differ by prompt and seed alone share a plan, so that the source of an edit is read and encoded once.
    `first`: how many media came before. MultigenError says which request is wrong.
    """
    found: list[Job] = []
    last: tuple[Request, Plan] | None = None
    opener, hearing = Opener(parts), Hearing(parts)
    for number, given in enumerate(requests):
        request = Request(given) if isinstance(given, str) else given
        own = first_seed(request, number, n, seed + first)
        try:
            check_counts(parts, n=n, seed=own)
            check_prompt(parts, request.prompt)
            request = with_extent(parts, request, opener)
            common = dataclasses.replace(request, prompt="", seed=None)
            if last is None or last[0].differs(common):
                last = common, plan(parts, request, opener=opener)
            if parts.guard.is_on:
                parts.guard.check_prompt(asked_texts(request, last[1]))
            warn_of_novelty(parts, request.prompt)  # which repeats it
            check_stages(parts, last[1].depth, request.prompt)
        except MultigenError as error:
            where = f"request {number + 1}: " if len(requests) > 1 else ""
            raise type(error)(f"{where}{error}") from error
        heard = hearing(request.prompt, last[1].heard)
        own_plan = last[1] if heard is last[1].heard else dataclasses.replace(last[1], heard=heard)
        found += [Job(request.prompt, own + k, own_plan) for k in range(n)]
    return found
