"""Post-hoc averages: two or more power-function averages of the weights, written as snapshots while training, from
which an average of any length is put together afterwards (Karras et al. 2024, arXiv:2312.02696, section 3).

snapshots/step-00000500/{sigma-0.05,sigma-0.1}.safetensors, state.json, manifest.json: written and verified as
checkpoints are.
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
from multigen.training.profiles import Profile, decay, exponent, mix

log = logging.getLogger(__name__)

FOLDER = "snapshots"
_PREFIX = "sigma-"
# A profile that is missed by more is worth a warning.
_FAR = 0.1


class Averages:
    """Power-function averages of named parameters, one for each sigma_rel of the settings; none if they are off.

    They are fp32 and exact state of a training (`state`, `load`); `settings.precision` is that of the snapshots.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: PostHoc, folder: Path) -> None:
        self.parameters, self.settings, self.folder = dict(parameters), settings, folder / FOLDER
        kept = dict.fromkeys(settings.sigmas if settings.every else ())
        self.shadows = {s: {n: p.detach().clone() for n, p in self.parameters.items()} for s in kept}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After step number `step` (from 1), whether its update was left out or not: time goes on."""
        for sigma, shadow in self.shadows.items():
            weight = 1 - decay(exponent(sigma), step)
            torch._foreach_lerp_(  # pyright: ignore[reportPrivateImportUsage]
                list(shadow.values()), list(self.parameters.values()), weight
            )

    def due(self, step: int) -> bool:
        return bool(self.shadows) and step % self.settings.every == 0

    def snapshot(self, step: int) -> None:
        """Write the averages of now. TrainingError for a full disk, or numbers beyond float16's range."""
        if not self.shadows:
            return
        tensors = {}
        for sigma, shadow in self.shadows.items():
            halved = self.settings.precision == "fp16"
            values = {name: value.half() if halved else value for name, value in shadow.items()}
            if halved and not all(bool(value.isfinite().all()) for value in values.values()):
                raise TrainingError("an average is beyond float16's range: train.post_hoc.precision=fp32")
            tensors[f"{_PREFIX}{sigma:g}"] = values
        state = checkpoints.Checkpoint(tensors, {"step": step})
        checkpoints.save(self.folder, step, state, keep=self.settings.keep)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What a checkpoint keeps: file -> tensors."""
        return {_file(sigma): shadow for sigma, shadow in self.shadows.items()}

    def load(self, tensors: Mapping[str, Mapping[str, Tensor]], step: int) -> None:
        """Go on from a checkpoint's files; snapshots that are newer than `step` are made again."""
        for sigma, shadow in self.shadows.items():
            if _file(sigma) not in tensors:
                raise MultigenError(
                    f"train.post_hoc: this training did not average with sigma_rel {sigma:g} from its start; go on "
                    "with the settings that it began with, or train in another folder"
                )
            for name, value in shadow.items():
                value.copy_(tensors[_file(sigma)][name])
        for path in checkpoints.found(self.folder) if self.shadows else []:
            if checkpoints.step_of(path) > step:
                shutil.rmtree(path, ignore_errors=True)


def reconstructed(run: Path, sigma: float) -> tuple[dict[str, Tensor], int]:
    """The average with `sigma` (sigma_rel) over a run's training: parameters in fp32, and the step that it ends at.

    From the snapshots that verify; a broken one is named in the log and left out. MultigenError if there is none, or
    `sigma` is out of range.
    """
    try:
        exponent(sigma)
    except ValueError as error:
        raise MultigenError(f"--ema: {error}") from error
    stored: list[tuple[Profile, Path]] = []
    for path in checkpoints.found(run / FOLDER):
        if (fault := checkpoints.verify(path, frozenset({checkpoints.STATE}))) is not None:
            log.warning("snapshot %s is broken: %s; left out", path, fault)
            continue
        for file in sorted(path.glob(f"{_PREFIX}*.safetensors")):
            stored.append((Profile(checkpoints.step_of(path), float(file.stem.removeprefix(_PREFIX))), file))
    if not stored:
        raise MultigenError(
            f"{run}: this run kept no snapshots of its averages, which --ema needs. Train with "
            "train.post_hoc.every=100 (steps between snapshots), a hundredth of the training or so"
        )
    step = int(max(profile.step for profile, _ in stored))
    found = mix([profile for profile, _ in stored], Profile(step, sigma))
    text = "sigma_rel %g at step %d from %d averages: the profile is met to %.2g of its size"
    log.info(text, sigma, step, len(stored), found.error)
    if found.error > _FAR:
        log.warning(
            "these snapshots say little of sigma_rel %g: the nearest that they give is off by %.0f%%; more of them "
            "(train.post_hoc.every) or nearer ones (train.post_hoc.sigmas) are needed", sigma, 100 * found.error,
        )  # fmt: skip
    return _summed([path for _, path in stored], found.weights), step


def _summed(files: list[Path], weights: list[float]) -> dict[str, Tensor]:
    """The weighted sum, one file in memory at a time; summed in fp64, since weights of both signs cancel."""
    total: dict[str, Tensor] = {}
    for path, weight in zip(files, weights, strict=True):
        for name, value in load_tensors(path).items():
            term = value.double() * weight
            total[name] = total[name].add_(term) if name in total else term
    return {name: value.float() for name, value in total.items()}


def _file(sigma: float) -> str:
    """The file of a checkpoint that holds the average of a sigma_rel."""
    return f"post-hoc-{sigma:g}"
