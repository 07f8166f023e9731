"""Whether long music has a form: `python -m benchmarks.music_form [MODEL] [-n 24] [--seconds 30]`.

Pieces of 30 s are made in sliding windows for the prompts of held-out pieces. Measured are the shares of them

    in the asked key        their first and their last third are both heard in the key that the prompt asks for
    keep their key          their first and their last third are heard in one key, whichever
    end on the tonic        the last chord that sounds is the asked key's

beside the same of real pieces, whole, by the same codec and vocoder: what the measures themselves get right.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen.datasets.rendered import Rendered
from multigen.evaluation.tonality import ends_on, key_of
from multigen.generation.request import Request
from multigen.modalities.general_midi import key_in, key_name
from multigen.model.build import build_dataset
from multigen.model.model import Model


def form(sound: Tensor, rate: int, key: str) -> tuple[bool, bool, bool]:
    """Of a sound [N]: whether both thirds are in the key, whether they are in one, whether it ends on the tonic."""
    third = len(sound) // 3
    first, last = (key_name(*key_of(part, rate)) for part in (sound[:third], sound[-third:]))
    tonic = next(t for t in range(12) if key_name(t, key.split()[1]) == key)
    return first == last == key, first == last, ends_on(sound, rate, tonic)


def measure(name: str, n: int, seconds: float, seed: int) -> list[dict[str, Any]]:
    """One row for real pieces and one for those that the model makes."""
    model = multigen.load(name, device="cpu")
    data = build_dataset(model.recipe, model.modality)
    assert isinstance(data, Rendered)
    held = list(data.split()[1])
    pieces = [data.pieces[held[k % len(held)]] for k in range(n)]
    rate = model.modality.shape(duration=1.0)[1]
    real = [_through(model, model.modality.read(data.folder / p.file), k) for k, p in enumerate(pieces)]
    requests = [
        Request(p.caption, duration=seconds, sliding_window=True, seed=seed + k) for k, p in enumerate(pieces)
    ]
    made = [medium.tensor for medium in model.batcher(requests).in_order()]
    keys = [key for p in pieces if (key := key_in(p.caption))]
    return [_row("real pieces, whole", real, keys, rate), _row(f"made, {seconds:g} s", made, keys, rate)]


@torch.no_grad()
def _through(model: Model, media: Tensor, seed: int) -> Tensor:
    return model.codec.decode(model.codec.encode(media[None]), seed=seed)[0]


def _row(what: str, sounds: Sequence[Tensor], keys: Sequence[str], rate: int) -> dict[str, Any]:
    found = torch.tensor([form(s.mean(0), rate, key) for s, key in zip(sounds, keys, strict=True)]).double()
    names = ("in the asked key", "keep their key", "end on the tonic")
    return {"what": what, "n": len(found)} | {
        name: f"{share:.2f}" for name, share in zip(names, found.mean(0).tolist(), strict=True)
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "model", nargs="?", default="audio_music", help="a shipped name, a file or a run folder"
    )
    parser.add_argument("-n", type=int, default=24, help="pieces")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(table(measure(given.model, given.n, given.seconds, given.seed)))
