"""What a training leaves behind in files that are small enough to come back: weights in parts, pictures in a tar."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from benchmarks.gpu.report import Row
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.recipe.schema import Recipe

PART = 15 * 2**20  # bytes of a file at most
BATCH = 256  # pictures that are made at once
CLIPS = 32  # ... clips
LAST = 1.5  # s that writing takes


def weights(model: Model, recipe: Recipe, out: Path) -> Row:
    """The model as `multigen export --half` writes it, under the recipe, in parts: weights.part0, weights.part1 ...

    `cat weights.part* > weights.safetensors` puts them together.
    """
    out.mkdir(parents=True, exist_ok=True)
    mine, model.recipe = model.recipe, recipe
    try:
        with tempfile.TemporaryDirectory() as folder:
            content = model.save(Path(folder, "weights.safetensors"), half=True).read_bytes()
    finally:
        model.recipe = mine
    for number, start in enumerate(range(0, len(content), PART)):
        (out / f"weights.part{number}").write_bytes(content[start : start + PART])
    return {"what": "weights", "bytes": len(content), "parts": -(-len(content) // PART)}


def samples(
    model: Model, prompts: Mapping[str, Sequence[str]], out: Path, deadline: float, *, log: Path
) -> Iterator[Row]:
    """samples.tar: sheet.png, its prompts, evaluation/ with metadata.jsonl as in a folder of media, and the log.

    Pictures are .png, clips the modality's animations.
    As many as can be made until the deadline (time.monotonic), the sheet first.
    """
    precision, model.denoiser.precision = model.denoiser.precision, _fast(model.device)
    try:
        with tarfile.open(out / "samples.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            if log.is_file():
                _add(archive, log.name, log.read_bytes())
            begin = time.monotonic()
            shown = list(_until(model, prompts["sheet"], deadline - LAST))
            if shown:
                picture = model.modality.preview([m.tensor for m in shown])
                content = io.BytesIO()
                picture.save(content, "PNG")
                _add(archive, "sheet.png", content.getvalue())
                _add(archive, "sheet.json", json.dumps([m.prompt for m in shown]).encode())
            yield {"what": "sheet", "pictures": len(shown), "seconds": round(time.monotonic() - begin, 1)}
            begin, count, lines = time.monotonic(), 0, []
            for medium in _until(model, prompts["evaluation"], deadline - LAST):
                name = f"{count:05d}{model.modality.animation or '.png'}"
                _add(archive, f"evaluation/{name}", _file(model, medium, Path(name).suffix))
                lines.append({"file_name": name, "text": medium.prompt, "seed": medium.seed})
                count += 1
            text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
            _add(archive, "evaluation/metadata.jsonl", text.encode())
    finally:
        model.denoiser.precision = precision
    yield {"what": "evaluation", "pictures": count, "seconds": round(time.monotonic() - begin, 1)}


def _until(model: Model, prompts: Sequence[str], deadline: float) -> Iterator[Media]:
    """A picture of each prompt, batch by batch, while there is time for as long a batch as the longest so far."""
    longest, batch = 0.0, CLIPS if model.modality.name == "video" else BATCH
    for start in range(0, len(prompts), batch):
        begin = time.monotonic()
        if begin + longest > deadline:
            return
        some = prompts[start : start + batch]
        yield from list(model.stream(some, n=1, seed=model.recipe.seed + start, batch=batch))
        longest = max(longest, time.monotonic() - begin)


def _fast(device: torch.device) -> torch.dtype | None:
    return torch.bfloat16 if device.type == "cuda" else None


def _file(model: Model, medium: Media, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"medium{suffix}")
        model.modality.write(medium.tensor, path)
        return path.read_bytes()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
