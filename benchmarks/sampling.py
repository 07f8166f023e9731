"""Seconds of shipped recipes by stage, the best mode of the U-Net, and the driver with many requests.

Stages: `import` of torch and multigen, `load` of the weights, `sampling`, `decoding` (the vocoder of sounds) and
`writing`. A row's seconds are of a process of its own, as `multigen run NAME` is; `a medium` is sampling and decoding.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from typing import Any

import torch

from benchmarks import many
from benchmarks.networks import evaluation
from benchmarks.peers import diffusers_pair
from benchmarks.timing import compare
from multigen.core.conditioning import Cond
from multigen.core.held import HeldWeights
from multigen.core.noise import normal

NAMES = ("image_emoji", "audio_music", "video_moving_emoji")

STAGES = """
import json, sys, time
marks = [("start", time.perf_counter())]
def mark(name): marks.append((name, time.perf_counter()))
import torch
import multigen
from pathlib import Path
name, n, threads, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.set_num_threads(threads)
load = multigen.load
mark("import")
model = load(name, device="cpu")
mark("load")
spent = []
decode = model.codec.decode
def timed(x):
    start = time.perf_counter()
    out = decode(x)
    spent.append(time.perf_counter() - start)
    return out
model.codec.decode = timed
prompts = list(model.recipe.sample.prompts)
media = model.generate([prompts[k % len(prompts)] for k in range(n)])
mark("made")
for k, medium in enumerate(media):
    medium.save(Path(folder, f"{k}{model.modality.suffix}"))
mark("writing")
found = {b: t - s for (_, s), (b, t) in zip(marks, marks[1:])}
made = found.pop("made")
found |= {"sampling": made - sum(spent), "decoding": sum(spent)}
print(json.dumps(found))
"""


def stages(name: str, n: int) -> dict[str, Any]:
    """A row: a recipe in a new process."""
    threads = str(torch.get_num_threads())
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-W", "ignore", "-c", STAGES, name, str(n), threads, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    row = {"what": f"{name}, {n} media", **{k: round(v, 2) for k, v in found.items()}}
    per = (found["sampling"] + found["decoding"]) / n
    return row | {"whole": round(sum(found.values()), 2), "a medium": round(per, 3)}


def best() -> dict[str, Any]:
    """Our U-Net in bf16 with held weights beside diffusers' in fp32; `networks` has fp32."""
    pair = diffusers_pair()
    x, noise = normal((8, 3, 32, 32), 0, "x"), torch.linspace(0, 10, 8)
    held = HeldWeights(pair.multigen, torch.bfloat16)
    return compare(
        "network evaluation, 8x3x32x32, held bf16 over eager fp32",
        evaluation(lambda x, noise: held(x, noise, Cond()), x, noise, torch.bfloat16),
        evaluation(pair.call_peer, x, noise, None),
        pair.name,
    )


def measure(n: int = 6) -> list[dict[str, Any]]:
    """Rows of the table."""
    rows = [stages(name, n if name != "image_emoji" else 16) for name in NAMES]
    together = many.measure(rounds=1)[0]
    return [*rows, best(), {"what": "driver, 32 mixed requests", **together}]
