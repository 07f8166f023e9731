"""Post-hoc EMA: averages of any length, computed after training (Karras et al. 2024, arXiv:2312.02696, section 3).

Training tracks two or more power-function averages of the weights and writes snapshots of them:

    snapshots/step-00000500/sigma-0.05.safetensors    one file for each sigma_rel
                            sigma-0.1.safetensors
                            state.json, manifest.json

They are written and verified like checkpoints. A combination of them approximates the wanted average.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from multigen.errors import MultigenError, TrainingError
from multigen.recipe.schema import PostHoc
from multigen.storage.tensors import load_tensors
from multigen.training import checkpoint as checkpoints
from multigen.training import ranks
from multigen.training.profiles import Profile, combine, decay, exponent
from multigen.training.sharding import Layout

log = logging.getLogger(__name__)

FOLDER = "snapshots"
_PREFIX = "sigma-"
_FAR = 0.1  # relative error of a combination above which a warning is given


class Averages:
    """Power-function averages of named parameters, one for each sigma_rel of the settings; none if they are off.

    The averages are fp32, whatever the precision of the snapshots, and part of a training's state.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        settings: PostHoc,
        folder: Path,
        layout: Layout | None = None,
    ) -> None:
        self.layout = Layout({}) if layout is None else layout
        self.parameters, self.settings, self.folder = dict(parameters), settings, folder / FOLDER
        kept = dict.fromkeys(settings.sigmas if settings.every else ())
        self.shadows = {s: {n: p.detach().clone() for n, p in self.parameters.items()} for s in kept}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update after step number `step`, from 1, also if its update was skipped."""
        for sigma, shadow in self.shadows.items():
            weight = 1 - decay(exponent(sigma), step)
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                list(shadow.values()), list(self.parameters.values()), weight
            )

    def due(self, step: int) -> bool:
        """Return whether a snapshot is due at a step."""
        return bool(self.shadows) and step % self.settings.every == 0

    def snapshot(self, step: int) -> None:
        """Write a snapshot, in rank 0 alone. TrainingError if the disk is full or a number is beyond float16."""
        if not self.shadows:
            return
        tensors = {}
        shadows = {sigma: self.layout.whole({_file(sigma): s}) for sigma, s in self.shadows.items()}
        if not ranks.first():
            return
        for sigma in self.shadows:
            shadow = shadows[sigma][_file(sigma)]
            halved = self.settings.precision == "fp16"
            values = {name: value.half() if halved else value for name, value in shadow.items()}
            if halved and not all(bool(value.isfinite().all()) for value in values.values()):
                raise TrainingError(
                    "an average is beyond the range of float16: set train.post_hoc.precision=fp32"
                )
            tensors[f"{_PREFIX}{sigma:g}"] = values
        state = checkpoints.Checkpoint(tensors, {"step": step})
        checkpoints.save(self.folder, step, state, keep=self.settings.keep)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Return the files of a checkpoint: name -> tensors."""
        return {_file(sigma): shadow for sigma, shadow in self.shadows.items()}

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], step: int) -> None:
        """Set the averages from the files of a checkpoint, and remove snapshots newer than `step`."""
        for sigma, shadow in self.shadows.items():
            if _file(sigma) not in tensors:
                raise MultigenError(
                    f"train.post_hoc: this training did not track sigma_rel {sigma:g} from its start. Resume with the "
                    "former settings, or train in another folder."
                )
            for name, value in shadow.items():
                value.copy_(tensors[_file(sigma)][name])
        for path in checkpoints.found(self.folder) if self.shadows else []:
            if checkpoints.step_of(path) > step and ranks.first():
                shutil.rmtree(path, ignore_errors=True)


def reconstructed(run: Path, sigma: float) -> tuple[dict[str, Tensor], int]:
    """Combine the snapshots of a run to the average with `sigma` (sigma_rel).

    Returns its parameters, in fp32, and the step at which it ends. Broken snapshots are skipped with a warning.
    Raises MultigenError if there are none, or `sigma` is out of range.
    """
    try:
        exponent(sigma)
    except ValueError as error:
        raise MultigenError(f"--ema: {error}") from error
    stored: list[tuple[Profile, Path]] = []
    for path in checkpoints.found(run / FOLDER):
        if (fault := checkpoints.verify(path, frozenset({checkpoints.STATE}))) is not None:
            log.warning("snapshot %s is broken and skipped: %s", path, fault)
            continue
        for file in sorted(path.glob(f"{_PREFIX}*.safetensors")):
            stored.append((Profile(checkpoints.step_of(path), float(file.stem.removeprefix(_PREFIX))), file))
    if not stored:
        raise MultigenError(
            f"{run}: this run has no snapshots of averages, which --ema needs. Train with, for example, "
            "train.post_hoc.every=100 (steps between snapshots; about 1% of the training)."
        )
    step = int(max(profile.step for profile, _ in stored))
    found = combine([profile for profile, _ in stored], Profile(step, sigma))
    text = "sigma_rel %g at step %d from %d averages: relative error of the profile %.2g"
    log.info(text, sigma, step, len(stored), found.error)
    if found.error > _FAR:
        log.warning(
            "these snapshots give sigma_rel %g only to within %.0f%%. Take more of them (train.post_hoc.every), or of "
            "closer lengths (train.post_hoc.sigmas).", sigma, 100 * found.error,
        )  # fmt: skip
    return _summed([path for _, path in stored], found.weights), step


def _summed(files: list[Path], weights: list[float]) -> dict[str, Tensor]:
    """Return the weighted sum of files, with one file in memory at a time, in fp64: weights of both signs cancel."""
    total: dict[str, Tensor] = {}
    for path, weight in zip(files, weights, strict=True):
        for name, value in load_tensors(path).items():
            term = value.double() * weight
            total[name] = total[name].add_(term) if name in total else term
    return {name: value.float() for name, value in total.items()}


def _file(sigma: float) -> str:
    """Return the name of the checkpoint file with the average of a sigma_rel."""
    return f"post-hoc-{sigma:g}"
