"""Exports: a trained model in a form in which others open it."""

from __future__ import annotations

from pathlib import Path

from multigen.errors import MultigenError
from multigen.model.export.pipeline import write_diffusers
from multigen.model.export.single_file import write_single_file
from multigen.model.model import Model
from multigen.model.source import RECIPE, Found, find, is_trained
from multigen.model.targets import DIFFUSERS, ONNX, SINGLE_FILE, place
from multigen.model.tuned import adaptation
from multigen.storage import lora, words
from multigen.training.post_hoc import reconstructed


def export(
    source: str | Path,
    out: str | Path | None = None,
    *,
    to: str = SINGLE_FILE,
    half: bool = False,
    merge: bool = False,
    ema: float | None = None,
) -> Path:
    """Write what stands at a source in a form for others; its recipe keeps no path of this machine. The place.

    to     "single-file": a safetensors file that `load` opens, with the stages of a cascade in it; "onnx": the denoiser
           for any runtime; "diffusers": a folder that diffusers loads
    out    a new file or folder; None: one named after the recipe
    half   of a single file: as in `Model.save`; a LoRA's matrices as float16
    merge  of a LoRA's run: its base with it, as a model like any other, in place of the LoRA alone
    ema    not the weights that stand there but the average of this length (sigma_rel) over the training of a run
           folder that kept snapshots

    Nothing is replaced, and nothing half-written stays. MultigenError as in `load`, for an unknown target, a missing
    package and a model that the target has no form for.
    """
    found = find(source)
    path = place(to, found.recipe.name, None if out is None else Path(out).expanduser())
    if path.exists():
        raise MultigenError(f"{path}: already exists; give another name")
    _check(source, found, to, half=half, merge=merge, ema=ema)
    if to == SINGLE_FILE and found.adapter is not None and not merge:
        return lora.write(path, found.adapter.halved() if half else found.adapter)
    if found.words is not None:
        return words.write(path, found.words)
    model = Model.of(found if ema is None else _averaged(found, ema), device="cpu")
    if to == SINGLE_FILE:
        return write_single_file(model, path, half=half)
    if to == DIFFUSERS:
        return write_diffusers(model, path)
    assert to == ONNX
    # Its packages are wanted by nobody else.
    from multigen.model.export.onnx import write_onnx

    return write_onnx(model, path)


def _check(source: str | Path, found: Found, to: str, *, half: bool, merge: bool, ema: float | None) -> None:
    """MultigenError for options that do not go together, or with what was found."""
    if found.recipe.trains == "codec" and to != SINGLE_FILE:
        raise MultigenError(f"{source}: it is a codec, which has no denoiser. Allowed: --to {SINGLE_FILE}")
    if merge and found.adapter is None and not found.recipe.loras:
        raise MultigenError(f"{source}: there is no LoRA to merge; leave --merge away")
    if found.adapter is not None and ema is not None:
        raise MultigenError("--ema: a LoRA's run keeps no snapshots of whole weights; leave it away")
    if found.recipe.train.adapter is not None and found.adapter is None and found.tensors is None:
        place = adaptation(found.recipe).place
        if to != SINGLE_FILE or found.words is None or merge or half:
            raise MultigenError(
                f"{source}: its base stays as it is, so there is nothing else to write. What it trained is {place} in "
                "it, which diffusers reads"
            )
    if half and to != SINGLE_FILE:
        raise MultigenError(f"--half: it goes with --to {SINGLE_FILE}")
    if found.adapter is not None and not merge and to != SINGLE_FILE:
        raise MultigenError(f"{source}: it holds a LoRA; --to {to} writes it with its base: add --merge")
    if found.tensors is None and found.adapter is None and found.words is None and to == SINGLE_FILE:
        raise MultigenError(
            f"{source}: nothing was trained here; pass on {found.where} itself, which any tool reads"
        )


def _averaged(found: Found, sigma: float) -> Found:
    """What was found in a run folder, its parameters those of another average; statistics of the codec stay."""
    run = Path(found.where)
    if not (run / RECIPE).is_file() or not is_trained(run):
        raise MultigenError(
            f"--ema: {found.where} is no run folder that was trained in; only those keep snapshots"
        )
    tensors, step = reconstructed(run, sigma)
    assert found.tensors is not None
    rows = [f"{k} is not expected" for k in tensors if k not in found.tensors]
    if rows:
        raise MultigenError(f"{run}: the snapshots are of another model: {'; '.join(rows[:5])}")
    where = f"{run} (sigma_rel {sigma:g} at step {step})"
    return found._replace(tensors={**found.tensors, **tensors}, where=where)
