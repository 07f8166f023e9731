"""Loading: a trained model from a run folder, a weights file, shipped weights or a recipe that was run here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from multigen.errors import MultigenError
from multigen.model.model import Model
from multigen.model.source import RECIPE, Found, find, is_trained
from multigen.recipe.paths import public
from multigen.storage import lora
from multigen.training.post_hoc import reconstructed


def load(source: str | Path, *, loras: Mapping[str, float] | None = None, device: str | None = None) -> Model:
    """A trained model from a run folder, a weights file, a recipe (by path or name), or a pipeline.

    That is a folder in diffusers' format, or the id of one on the hub (hf:owner/name). Of a recipe that was run here,
    what its run trained; else the weights that the recipe names. Weights are safetensors only. `loras`: LoRA files or
    run folders, each with its weight (`Model.adapt`). MultigenError if there is nothing, or nothing trained, at
    `source`.
    """
    found = find(source)
    model = Model.of(found, device=device)
    if loras is not None:
        model.adapt(loras)
    return model


def export(
    source: str | Path, file: Path, *, half: bool = False, merge: bool = False, ema: float | None = None
) -> Path:
    """Write what stands at a source to one safetensors file, for others: its recipe keeps no path of this machine.

    Of a LoRA's run that is the LoRA; with `merge` its base with it, as a model like any other. `half` as in
    `Model.save`. `ema`: not the weights that stand there but the average of this length (sigma_rel) over the training
    of a run folder that kept snapshots. MultigenError as in `load`, and where there are no snapshots.
    """
    found = find(source)
    if merge and found.adapter is None and not found.recipe.loras:
        raise MultigenError(f"{source}: there is no LoRA to merge; leave --merge away")
    if found.adapter is not None and ema is not None:
        raise MultigenError("--ema: a LoRA's run keeps no snapshots of whole weights; leave it away")
    if found.adapter is not None and not merge:
        if half:
            raise MultigenError("--half: a LoRA is small; it goes with --merge")
        if file.suffix != ".safetensors":
            raise MultigenError(f"{file}: weights are saved as .safetensors")
        return lora.write(file, found.adapter)
    if found.tensors is None and found.adapter is None:
        raise MultigenError(
            f"{source}: nothing was trained here; pass on {found.where} itself, which any tool reads"
        )
    if ema is not None:
        found = _averaged(found, ema)
    model = Model.of(found, device="cpu")
    model.recipe = public(model.recipe)
    return model.save(file, half=half)


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
