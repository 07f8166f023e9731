"""Seconds per network evaluation and per training step, beside other projects' networks of the same size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.peers import TOLERANCE, Pair, diffusers_pair, lucidrains_pair, size
from benchmarks.timing import compare
from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.noise import normal

Network = Callable[[Tensor, Tensor], Tensor]


def evaluation(call: Network, x: Tensor, noise: Tensor, precision: torch.dtype | None) -> Callable[[], None]:
    """One network evaluation, as in sampling."""

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision is not None):
            call(x, noise)

    return run


def training_step(
    network: nn.Module, call: Network, x: Tensor, noise: Tensor, precision: torch.dtype | None
) -> Callable[[], None]:
    """Forward pass, mean square error, backward pass, AdamW."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-5)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", precision, enabled=precision is not None):
            answer = call(x, noise)
        (answer.float() - x).square().mean().backward()
        optimizer.step()

    return run


def measure() -> list[dict[str, Any]]:
    """Rows of the table; see `benchmarks.timing.compare`."""
    lucidrains = lucidrains_pair()
    rows = [*beside(diffusers_pair(), 8), *(beside(lucidrains, 16) if lucidrains else ()), *own()]
    return [row | {"threads": torch.get_num_threads()} for row in rows]


def beside(pair: Pair, batch: int) -> Iterator[dict[str, Any]]:
    """Four rows for a pair: evaluation and training step, in fp32 and in bf16 autocast."""
    x, noise = normal((batch, 3, 32, 32), 0, "x"), torch.linspace(0, 10, batch)
    mine = size(pair.multigen, pair.call_multigen, x, noise)
    theirs = size(pair.peer, pair.call_peer, x, noise)
    for a, b, unit in zip(mine, theirs, ("parameters", "FLOPs"), strict=True):
        if abs(a / b - 1) > TOLERANCE:
            raise ValueError(f"{pair.name}: {a} {unit} of ours against {b}: not the same size")
    facts = {"parameters": mine.parameters, "flops": mine.flops} | {
        "peer_parameters": theirs.parameters,
        "peer_flops": theirs.flops,
    }
    for precision, label in ((None, "fp32"), (torch.bfloat16, "bf16")):
        shape = f"{batch}x3x32x32, {label}"
        yield facts | compare(
            f"network evaluation, {shape}",
            evaluation(pair.call_multigen, x, noise, precision),
            evaluation(pair.call_peer, x, noise, precision),
            pair.name,
        )
        yield facts | compare(
            f"training step, {shape}",
            training_step(pair.multigen, pair.call_multigen, x, noise, precision),
            training_step(pair.peer, pair.call_peer, x, noise, precision),
            pair.name,
        )


def own() -> Iterator[dict[str, Any]]:
    """Audio and video, which the peers do not have: ours alone."""
    spec = CondSpec()
    audio = UNet(
        axes=1, channels=64, out_channels=64, cond=spec, widths=(256, 320, 384), blocks=1, kernel=5,
        attention=(False, True, True),
    )  # fmt: skip
    video = UNet(axes=3, channels=3, out_channels=3, cond=spec, widths=(48, 96, 128), blocks=1)
    for name, net, shape in (("audio", audio, (16, 64, 256)), ("video", video, (8, 3, 16, 32, 32))):
        x, noise = normal(shape, 0, name), torch.linspace(0, 10, shape[0])

        def call(x: Tensor, noise: Tensor, net: UNet = net) -> Tensor:
            return net(x, noise, Cond())

        parameters, flops = size(net, call, x, noise)
        for precision, label in ((None, "fp32"), (torch.bfloat16, "bf16")):
            text = f"{name}, {'x'.join(map(str, shape))}, {label}"
            step = training_step(net, call, x, noise, precision)
            facts = {"parameters": parameters, "flops": flops}
            yield facts | compare(f"training step, {text}", step, repeats=5, warmup=1)
