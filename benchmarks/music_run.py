"""How in tune the music of a run folder is, beside the real pieces and their way through the codec.

`python -m benchmarks.music_run runs/audio_music`: detune (semitones; chance 0.25), the share of the energy on the seven
strongest pitch classes (a key has seven), onsets a second, loudness (dB) and silence, each as mean and range over
clips.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen.evaluation.audio import chroma, detune, loudness, onset_rate, silence_share
from multigen.model.build import build_dataset
from multigen.recipe.manifest import read


def measure(folder: Path, clips: int = 12) -> list[dict[str, Any]]:
    """Rows for the run's media, held-out real pieces, and those through the run's codec."""
    model = multigen.load(folder, device="cpu")
    manifest = read(folder)
    files = [entry["file"] for entry in manifest["files"]] if manifest else []
    made = [model.modality.read(folder / file) for file in files]
    data = build_dataset(model.recipe, model.modality)
    real = [data[i]["media"] for i in data.split()[1][:clips]]
    with torch.no_grad():
        copies = [model.codec.decode(model.codec.encode(m[None]), seed=k)[0] for k, m in enumerate(real)]
    rate = model.modality.shape(duration=1.0)[1]
    named = {"real": real, "real through the codec": copies, "generated": made}
    return [_row(name, sounds, rate) for name, sounds in named.items() if sounds]


def _row(name: str, sounds: Sequence[Tensor], rate: int) -> dict[str, Any]:
    def spread(values: list[float]) -> str:
        return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"

    return {
        "what": name,
        "clips": len(sounds),
        "detune": spread([detune(s, rate).mean().item() for s in sounds]),
        "on seven pitch classes": spread(
            [chroma(s, rate).mean(0).topk(7).values.sum().item() for s in sounds]
        ),
        "onsets/s": spread([onset_rate(s, rate).mean().item() for s in sounds]),
        "loudness dB": spread([loudness(s, rate).mean().item() for s in sounds]),
        "silence": spread([silence_share(s, rate).mean().item() for s in sounds]),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a run folder of audio_music")
    parser.add_argument("--clips", type=int, default=12, help="real pieces to compare with")
    given = parser.parse_args()
    print(table(measure(given.folder, given.clips)))
