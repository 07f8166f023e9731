"""How our U-Net samples in bf16: weights cast at each call, held in bf16, and with its blocks compiled."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu import networks
from benchmarks.gpu.clock import forget_peak, peak, timed
from benchmarks.gpu.report import Row
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.predictions import flow as flow_prediction
from multigen.core.schedules import flow as flow_schedule
from multigen.model.ready import compile_regions


def sampling_job(device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """A call of a denoiser without gradients, batch 1 and 8; compiled where there is a GPU."""
    torch.backends.cudnn.benchmark = True
    network, shape = networks.own(2, device, tiny=tiny)
    cast, held = (
        Denoiser(network, flow_schedule(), flow_prediction(), precision=torch.bfloat16) for _ in range(2)
    )
    yield None
    forget_peak(device)
    batches = (1, 2) if tiny else (1, 8)

    def rows(mode: str, denoiser: Denoiser) -> Iterator[Row]:
        for batch in batches:
            x, t = torch.randn(batch, *shape, device=device), torch.full((batch,), 0.5, dtype=torch.float64)

            def run(x: Tensor = x, t: Tensor = t) -> Tensor:
                # With gradients weights are cast at each call; none is asked for afterwards.
                with torch.set_grad_enabled(mode == "cast at each call"):
                    return denoiser(x, t, Cond())

            run()
            timing = timed(run, device, seconds=0.5)
            what = f"2 axes, sampling, bf16 {mode}, batch {batch}"
            yield {
                "what": what,
                "ms": timing.median * 1000,
                "spread": timing.spread,
                "peak_gib": peak(device),
            }

    yield from rows("cast at each call", cast)
    yield from rows("held", held)
    if device.type == "cuda":
        compile_regions(held)
        yield from rows("held, blocks compiled", held)
