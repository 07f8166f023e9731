"""The caches that a recipe names: what a trajectory reuses from one step to the next, as `caching` does it."""

from __future__ import annotations

from multigen.core.caching import Caching, changed, every


def off() -> Caching:
    """Reuse nothing: every layer runs at every query."""
    return Caching()


def auto() -> Caching:
    """Reuse what was measured of the weights to cost no quality (`measured.json` beside them); elsewhere nothing."""
    return Caching()


def deep(*, every: int = 2, outer: int = 1, order: int = 0, guidance: int = 1) -> Caching:
    """Reuse deep features between queries (DeepCache: Ma et al. 2023, arXiv:2312.00858).

    every     the inner layers run at every so many queries; 1: at each
    outer     outer stages of the network that run at every query: more are slower and nearer to the whole network
    order     0: their input from the inner layers is reused; 1: it is extrapolated (TaylorSeer: Liu et al. 2025,
              arXiv:2503.06923, eq. 5)
    guidance  guidance is asked for at every so many queries; 1: at each

    Raises ValueError for values out of range.
    """
    _check("deep", outer, order, guidance)
    if every < 1:
        raise ValueError(f"cache deep: every is 1 or more, not {every}")
    return Caching(_every(every), outer, order, guidance)


def forecast(*, limit: float = 0.1, outer: int = 1, order: int = 1, guidance: int = 1) -> Caching:
    """Run the inner layers where the input of the network has changed (TeaCache: Liu et al. 2024, arXiv:2411.19108).

    limit  sum of the relative changes of the input since they last ran, over which they run again; 0: at each query
    outer, order, guidance  as for `deep`

    Raises ValueError for values out of range.
    """
    _check("forecast", outer, order, guidance)
    if not limit >= 0:
        raise ValueError(f"cache forecast: limit is 0 or more, not {limit}")
    return Caching(changed(limit), outer, order, guidance)


def guidance(*, every: int = 2) -> Caching:
    """Ask for guidance at every so many queries alone, and take the latest difference at the others.

    Lyu et al. 2025 (arXiv:2410.19355, section 3.3). Raises ValueError unless `every` is 1 or more.
    """
    _check("guidance", 1, 0, every)
    return Caching(guidance=every)


_every = every  # `deep` has an argument of that name


def _check(name: str, outer: int, order: int, guidance: int) -> None:
    if outer < 1 or order not in (0, 1) or guidance < 1:
        raise ValueError(
            f"cache {name}: outer and guidance are 1 or more, order is 0 or 1, not {outer}, {guidance}, {order}"
        )
