"""Checkpoints: folders of safetensors and JSON files, written atomically and verified before use.

    checkpoints/step-00000500/weights.safetensors    trained parameters
                              ema.safetensors        averaged parameters, and the buffers
                              optimizer.safetensors
                              state.json             step, seconds and other counters
                              manifest.json          size and sha256 of each file
    checkpoints/latest                               name of the newest checkpoint
    checkpoints/best.json                            name and loss of the best checkpoint, if best ones are kept

Any process may read at any time. Only `save`, `mark_best` and `tidy` change anything; they are for the training that
holds the lock of the run folder.
"""

from multigen.training.checkpoint.files import Checkpoint, digest, load, save
from multigen.training.checkpoint.folder import (
    BEST,
    Best,
    best,
    found,
    mark_best,
    newest,
    path_of,
    set_aside,
    tidy,
)
from multigen.training.checkpoint.verify import STATE, step_of, verify

__all__ = [
    "BEST",
    "STATE",
    "Best",
    "Checkpoint",
    "best",
    "digest",
    "found",
    "load",
    "mark_best",
    "newest",
    "path_of",
    "save",
    "set_aside",
    "step_of",
    "tidy",
    "verify",
]
