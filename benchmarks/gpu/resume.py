"""Exact resume on a device: a training cut in two is the training in one piece, bit for bit; the CPU's beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu.report import Row
from multigen.backbones.unet import UNet
from multigen.codecs.pixels import Pixels
from multigen.conditioners.label import Nothing
from multigen.core.conditioning import CondSpec
from multigen.core.denoiser import Denoiser
from multigen.core.noise import normal
from multigen.core.predictions import flow as flow_prediction
from multigen.core.schedules import flow as flow_schedule
from multigen.datasets import Dataset, Item
from multigen.recipe.schema import Train
from multigen.training import checkpoint as checkpoints
from multigen.training.diffusion import Diffusion
from multigen.training.trainer import Trainer

STEPS, HALF = 12, 6


class Blobs(Dataset):
    """Pictures [3, 16, 16] of a colour and a little noise, keyed by their index."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Item:
        colour = normal((3, 1, 1), index, "colour").clamp(-1, 1)
        return {"media": (colour + 0.1 * normal((3, 16, 16), index, "blob")).clamp(-1, 1), "id": str(index)}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[range, range]:
        return range(56), range(56, 64)


def trainer(folder: Path, device: torch.device, precision: torch.dtype | None, steps: int = STEPS) -> Trainer:
    """A trainer of a small U-Net on a device."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(
            axes=2, channels=3, out_channels=3, cond=CondSpec(), widths=(32, 64), blocks=1, dropout=0.1
        )
    settings = Train(
        steps=steps, batch=8, accumulate=2, lr=1e-3, warmup=2, ema_decay=0.9, checkpoint_every=HALF, keep=0,
        held_out_every=0, preview_every=0, tensorboard=False,
    )  # fmt: skip
    blobs = Blobs()
    task = Diffusion(
        denoiser=Denoiser(network, flow_schedule(), flow_prediction()).to(device),
        conditioner=Nothing(),
        codec=Pixels(),
        dataset=blobs,
        settings=settings,
        seed=0,
        device=device,
        precision=precision,
    )
    return Trainer(
        task=task, dataset=blobs, settings=settings, seed=0, folder=folder, device=device, quiet=True
    )


def rows(device: torch.device) -> Iterator[Row]:
    """In fp32 and in bf16: the two ways to step 12, and the time that a step takes once it is warm."""
    for precision in (None, torch.bfloat16):
        name = "fp32" if precision is None else "bf16"
        with tempfile.TemporaryDirectory() as root:
            whole = trainer(Path(root, "whole"), device, precision)
            whole.run()
            second = trainer(Path(root, "second"), device, precision)
            state = checkpoints.load(checkpoints.path_of(Path(root, "whole", "checkpoints"), HALF))
            second.restore(state)
            second.run()
            one, other = (
                checkpoints.digest(checkpoints.load(checkpoints.path_of(Path(root, k, "checkpoints"), STEPS)))
                for k in ("whole", "second")
            )
            pairs = zip(whole.parameters.values(), second.parameters.values(), strict=True)
            apart = max((a - b).abs().max().item() for a, b in pairs)
            yield {"what": f"resume at step {HALF} of {STEPS}, {name}", "apart": apart, "ok": one == other}
            finite = all(bool(p.isfinite().all()) for p in whole.parameters.values())
            row = {
                "what": f"lag of the host, {name}: steps",
                "count": whole.updates.verdicts.lag,
                "ok": finite,
            }
            yield row
