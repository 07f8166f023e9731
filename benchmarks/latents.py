"""What latents save: seconds a picture of 128x128 in pixels and in latents, and a VAE's PSNR over its training.

`python -m benchmarks.latents`: the networks of `image_folder` at 128x128 pixels and of `image_latent`, untrained, since
weights do not change their speed; one picture, without guidance, decoding included, in fp32: seconds of one core.

`python -m benchmarks.latents runs/vae_folder`: PSNR (dB) and SSIM of held-out media at each measurement of a training,
with its minutes, of which the log keeps the steps and the items a second.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import table
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.training import log as training_log

STEPS = 4
MODELS = {
    "pixels": ("image_folder", ["modality.size=128"]),
    "latents": ("image_latent", ["codec={name: kl_vae, weights: included}"]),
}
COMMON = ["conditioner.name=none", "guide.name=plain", f"sample.steps={STEPS}", "data.path=."]


def measure(repeats: int = 3) -> list[dict[str, Any]]:
    """A row for pixels and for latents: seconds a network call, for decoding, and for a picture of 20 steps."""
    torch.set_num_threads(1)
    rows = []
    for name, (recipe, own) in MODELS.items():
        model = Model(load_recipe(recipe, [*own, *COMMON]), device="cpu")
        shape = model.codec.shape(model.modality.shape())
        calls: list[Any] = []
        model.generate(seed=0)
        whole = [_timed(lambda m=model, c=calls: m.generate(on_progress=c.append)) for _ in range(repeats)]
        x = torch.zeros(1, *shape)
        decode = statistics.median(_timed(lambda m=model, x=x: m.codec.decode(x)) for _ in range(repeats))
        call = (statistics.median(whole) - decode) / (len(calls) / repeats)
        rows.append(
            {
                "model": name,
                "model space": " x ".join(map(str, shape)),
                "parameters": model.facts["parameters"],
                "s_a_call": round(call, 4),
                "s_to_decode": round(decode, 4),
                "s_a_picture": round(2 * 20 * call + decode, 3),  # Heun: two calls a step
            }
        )
    rows[1]["ratio"] = round(rows[1]["s_a_picture"] / rows[0]["s_a_picture"], 3)
    return rows


@torch.no_grad()
def _timed(work: Any) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def progress(folder: Path) -> list[dict[str, Any]]:
    """A row for each measurement of a VAE's training."""
    rows, minutes, last = [], 0.0, 0
    batch = load_recipe(str(folder / "recipe.yaml")).train.batch
    for row in training_log.read(folder):
        if "items_per_s" in row:
            minutes += (row["step"] - last) * batch / row["items_per_s"] / 60
            last = row["step"]
        if "psnr" in row.get("held_out", {}):
            found = {k: round(v, 4) for k, v in row["held_out"].items()}
            rows.append({"step": row["step"], "minutes": round(minutes, 1), **found})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "folder", type=Path, nargs="?", help="a run folder of vae_folder; without it: the speed"
    )
    given = parser.parse_args()
    print(table(measure() if given.folder is None else progress(given.folder)))
