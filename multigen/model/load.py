"""Loading: a trained model from a run folder, a weights file, shipped weights or a recipe that was run here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from multigen.model.diffusers import animated
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.sampling import sampling_recipe


def load(
    source: str | Path,
    *,
    loras: Mapping[str, float] | None = None,
    fast: bool | str = False,
    config: str | None = None,
    device: str | None = None,
) -> Model:
    """A trained model from a run folder, a weights file, a recipe (by path or name), or a pipeline.

    That is a folder in diffusers' format, a single file as the community publishes it, or an id on the hub
    (hf:owner/name). Of a recipe that was run here, what its run trained; else the weights that the recipe names.
    Weights are safetensors only. `loras`: LoRA files or run folders, each with its weight (`Model.adapt`). `fast`:
    sample with the student that is shipped beside the weights (True), or that of a file or run folder, in few calls of
    the network. `config`: a folder in diffusers' format that says what a single file does not: tokenizers, and parts
    that it lacks. MultigenError if there is nothing, or nothing trained, at `source`, and where there is no student.
    """
    found = find(source, config)
    recipe = sampling_recipe(found.recipe, [f"fast={json.dumps(fast)}"]) if fast else found.recipe
    model = Model.of(found, animated(recipe), device=device)
    if loras is not None:
        model.adapt(loras)
    return model
