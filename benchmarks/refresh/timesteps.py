"""Times made for particular weights: those at which few steps of the recipe's sampler come nearest to many.

Coordinate descent on held-out prompts, from the recipe's own grid: each inner time moves towards one of its neighbours,
by a share of the way that halves when no move helps. The error is the root mean square difference, of full scale, from
the same starts walked by Heun in many steps (as Sabour et al. 2024, arXiv:2404.14507, look for times, but with the
distance itself in place of its bound). Samplers that draw noise are searched as their deterministic counterparts.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import multigen
from benchmarks.refresh.card import rows_of, write_section
from multigen import registry
from multigen.core.samplers import sampler_traits
from multigen.evaluation.sets import draw_targets, pools_of, prompt_of
from multigen.generation.request import Request
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.recipe.paths import shipped_weights
from multigen.storage.measured import write_measured

MANY = 24  # steps of Heun
PROMPTS, SEED = 4, 10_000  # the judge's seeds are others
ROUNDS, SHARE, LEAST = 8, 0.4, 0.1  # passes over the times, and the share of the way to a neighbour


def run(name: str, out: Path) -> str:
    """Search; write the times and both errors."""
    model = multigen.load(name)
    steps = model.recipe.sample.steps
    if not 3 <= steps <= 16:
        return f"{steps} steps are walked on the recipe's own grid"
    sampler = deterministic(model)
    own = model.denoiser.schedule
    ts = registry.build("timesteps", model.recipe.timesteps)(own, steps).tolist()
    prompts = held_out(model)
    truth = walked(model, prompts, [None], "heun", MANY)[0]
    found, before, after = search(model, prompts, truth, sampler, ts)
    values = [round(t, 5) for t in found[:-1]]
    write_measured(
        out, shipped_weights()[name], "timesteps", {"sampler": sampler, "values": values, "of": "t"}
    )
    text = (
        f"## Times of {steps} steps\n\nDifference of `{sampler}` from Heun in {MANY} steps, root mean square of full "
        f"scale, over {PROMPTS} held-out prompts.\n\n"
    )
    table = rows_of(
        ("times", "difference"),
        [("the recipe's", f"{before:.4f}"), (", ".join(map(str, values)), f"{after:.4f}")],
    )
    write_section(out, "timesteps", text + table)
    return f"{values}: {before:.4f} to {after:.4f}"


def search(
    model: Model, prompts: Sequence[str], truth: Tensor, sampler: str, ts: list[float]
) -> tuple[list[float], float, float]:
    """The best times, and the errors before and after. All moves of a round share the network's calls."""
    (start,) = errors(model, prompts, truth, sampler, [ts])
    best, lowest, share = ts, start, SHARE
    for _ in range(ROUNDS):
        moves = [moved(best, place, towards, share) for place in range(1, len(ts) - 1) for towards in (-1, 1)]
        found = errors(model, prompts, truth, sampler, moves)
        at = min(range(len(moves)), key=found.__getitem__)
        if found[at] < lowest:
            best, lowest = moves[at], found[at]
        elif (share := share / 2) < LEAST:
            break
    return best, start, lowest


def moved(ts: list[float], place: int, towards: int, share: float) -> list[float]:
    """One time moved by a share of the way to its neighbour."""
    return [*ts[:place], ts[place] + share * (ts[place + towards] - ts[place]), *ts[place + 1 :]]


def errors(
    model: Model, prompts: Sequence[str], truth: Tensor, sampler: str, grids: Sequence[list[float]]
) -> list[float]:
    """The root mean square difference from the truth, of full scale, of each grid."""
    made = walked(model, prompts, grids, sampler, len(grids[0]) - 1)
    return [float((one - truth).square().mean().sqrt()) / 2 for one in made]


def walked(
    model: Model, prompts: Sequence[str], grids: Sequence[list[float] | None], sampler: str, steps: int
) -> list[Tensor]:
    """Media of all prompts on each grid, [P, C, *D]; None: the recipe's."""
    how = (f"sampler.name={sampler}", "sample.polish.passes=0")
    requests = [
        Request(
            prompt,
            seed=SEED + k,
            steps=steps,
            cache="off",
            overrides=how if grid is None else (*how, f"timesteps={{name: list, values: {grid[:-1]}}}"),
        )
        for grid in grids
        for k, prompt in enumerate(prompts)
    ]
    media = [medium.tensor for medium in model.stream(requests, batch=64)]
    return list(torch.stack(media).unflatten(0, (len(grids), len(prompts))))


def held_out(model: Model) -> list[str]:
    """Prompts of captions that training never saw, where there are such."""
    dataset = build_dataset(model.recipe, model.modality)
    pools = pools_of(dataset)
    targets = draw_targets(dataset, pools[min(1, len(pools) - 1)], PROMPTS, seed=SEED)
    return [prompt_of(model, target) for target in targets]


def deterministic(model: Model) -> str:
    """The recipe's sampler, or what walks its steps without fresh noise."""
    name = model.recipe.sampler.name
    return sampler_traits(registry.lookup("sampler", name)).deterministic or name
