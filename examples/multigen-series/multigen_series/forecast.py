"""Forecasts: what follows a past, many times, and whether their spread is right.

`python -m multigen_series.forecast RUN` continues held-out series of the run's data, many times each, beside

    perfect      draws from what is known to follow (of a dataset that knows)
    climatology  values of the training, whenever
    persistence  the last value, going on

and prints for every channel, in its unit, the continuous ranked probability score (lower is better; of one forecast the
mean absolute error) and how often the truth lies within the intervals that should hold 50% and 90%.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

import multigen
from multigen.core.noise import normal
from multigen.model.build import build_dataset
from multigen_series.modality import Series
from multigen_series.process import Foreseeable

SHARES = (0.5, 0.9)


def crps(members: Tensor, truth: Tensor) -> Tensor:
    """The score of an ensemble [M, ...] for a truth [...]: E|X - y| - E|X - X'|/2, without bias in M.

    Gneiting & Raftery 2007, eq. 21; the pairs of different members alone count (Ferro 2014).
    """
    count = len(members)
    near = (members - truth).abs().mean(0)
    if count == 1:
        return near
    ordered = members.sort(0).values
    places = torch.arange(count, dtype=ordered.dtype).view(-1, *[1] * truth.ndim)
    spread = ((2 * places - count + 1) * ordered).sum(0)  # of all pairs
    return near - spread / (count * (count - 1))


def within(members: Tensor, truth: Tensor, share: float) -> Tensor:
    """Whether the truth [...] lies within the middle of an ensemble [M, ...] that should hold a share of it, bool.

    As many of its M + 1 gaps as that is: ValueError where that is no whole, even number of them on both sides. A truth
    that equals some members lies in all the gaps between those.
    """
    gaps = len(members) + 1
    outside = gaps * (1 - share) / 2
    if abs(outside - round(outside)) > 1e-6 or round(outside) < 1:
        raise ValueError(f"members: {len(members)} is not allowed for {share:.0%}. Allowed: 19, 39, 59 ...")
    below, up_to = (members < truth).sum(0), (members <= truth).sum(0)
    return (up_to >= round(outside)) & (below < gaps - round(outside))


def forecast(model: multigen.Model, past: Tensor, horizon: int, members: int, seed: int = 0) -> Tensor:
    """What a model makes of the `horizon` steps after a past [C, N], `members` times: [M, C, horizon]."""
    made = model.edit(past, extend=(0, horizon), n=members, seed=seed)
    return torch.stack([medium.tensor[:, past.shape[1] :] for medium in made])


def forecasters(
    model: multigen.Model, horizon: int, members: int
) -> Mapping[str, Callable[[Tensor, int], Tensor]]:
    """By name: a past [C, N] and its number -> an ensemble [M, C, horizon]."""
    dataset = build_dataset(model.recipe, model.modality)
    train, _ = dataset.split()
    some = torch.stack([dataset[k]["media"] for k in list(train)[:500]])

    def climate(past: Tensor, number: int) -> Tensor:
        rng = torch.Generator().manual_seed(number)
        who = torch.randint(len(some), (members,), generator=rng)
        start = int(torch.randint(some.shape[2] - horizon + 1, (), generator=rng))
        return some[who][:, :, start : start + horizon]

    found = {
        "model": lambda past, number: forecast(model, past, horizon, members, seed=1000 * number),
        "climatology": climate,
        "persistence": lambda past, number: past[None, :, -1:].expand(1, -1, horizon),
    }
    if isinstance(dataset, Foreseeable):

        def perfect(past: Tensor, number: int) -> Tensor:
            mean, deviation = dataset.future(past, horizon)
            return mean + deviation * normal((members, *mean.shape), number, "perfect").double()

        found["perfect"] = perfect
    return found


def measure(model: multigen.Model, *, horizon: int, members: int, n: int) -> list[dict[str, object]]:
    """A row for each forecaster and channel. ValueError for a horizon or a number of members that does not do."""
    modality = model.modality
    assert isinstance(modality, Series)
    if not 0 < horizon < modality.length:
        raise ValueError(f"horizon: {horizon} is not allowed. Allowed: 1 to {modality.length - 1} steps.")
    dataset = build_dataset(model.recipe, modality)
    items = [dataset[k]["media"].double() for k in list(dataset.split()[1])[:n]]
    unit = ((modality.high - modality.low) / 2)[:, 0]
    rows: list[dict[str, object]] = []
    for name, forecaster in forecasters(model, horizon, members).items():
        scores, inside = [], []
        for number, item in enumerate(items):
            past, truth = item[:, :-horizon], item[:, -horizon:]
            ensemble = forecaster(past.float(), number).double()
            scores.append(crps(ensemble, truth).mean(1) * unit)
            if len(ensemble) > 1:
                inside.append(torch.stack([within(ensemble, truth, s).double().mean(1) for s in SHARES]))
        score, error = torch.stack(scores).mean(0), torch.stack(scores).std(0) / len(scores) ** 0.5
        cover = torch.stack(inside).mean(0) if inside else torch.full((len(SHARES), len(unit)), torch.nan)
        for k, channel in enumerate(modality.channels):
            row: dict[str, object] = {"forecast": name, "channel": channel}
            row |= {"crps": round(float(score[k]), 4), "error": round(float(error[k]), 4)}
            rows.append(row | {f"within {s:.0%}": round(float(cover[i, k]), 3) for i, s in enumerate(SHARES)})
    return rows


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as Markdown."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder or a weights file")
    parser.add_argument("--horizon", type=int, default=16, help="steps that are forecast")
    parser.add_argument("--members", type=int, default=19, help="forecasts of each past: 19, 39, 59 ...")
    parser.add_argument("-n", type=int, default=50, help="held-out series")
    given = parser.parse_args()
    model = multigen.load(given.run)
    print(table(measure(model, horizon=given.horizon, members=given.members, n=given.n)))
