"""The safety checker that folders of Stable Diffusion carry."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from multigen.errors import MultigenError, reason
from multigen.safety import Action, Finding
from multigen.safety.pictures import sampled

FOLDER, SETTINGS = "safety_checker", "feature_extractor/preprocessor_config.json"
_MEAN, _DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's
_BATCH = 8


def checker_of(folder: Path) -> bool:
    """Whether a folder in diffusers' format has a safety checker that can be read."""
    return (folder / FOLDER / "config.json").is_file() and any((folder / FOLDER).glob("*.safetensors"))


class SafetyChecker:
    """The CLIP classifier of a Stable Diffusion folder, with its own thresholds (Rombach et al. 2022).

    path    the folder of the pipeline, whose `safety_checker` holds safetensors
    frames  of a clip that are looked at, the first and the last among them
    action  what is done with a picture that counts

    ValueError for a folder without one, and for a value out of range.
    """

    reads = ("image", "video")

    def __init__(
        self, *, path: str, frames: int = 8, action: Literal["block", "blur", "flag"] = "block"
    ) -> None:
        folder = Path(path).expanduser()
        if not checker_of(folder):
            raise ValueError(f"path: {path} holds no {FOLDER} with safetensors")
        if frames < 1:
            raise ValueError(f"frames: {frames} is not allowed. Allowed: 1 or more.")
        from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

        logging.getLogger("diffusers.pipelines.stable_diffusion.safety_checker").setLevel(logging.ERROR)
        try:
            self._network = StableDiffusionSafetyChecker.from_pretrained(
                str(folder / FOLDER), use_safetensors=True, local_files_only=True
            ).eval()
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise MultigenError(f"{folder / FOLDER}: cannot be read ({reason(error)})") from error
        self.frames = frames
        self.action: Action = action
        self._side = int(self._network.config.vision_config.image_size)
        self._mean, self._deviation = _normalisation(folder / SETTINGS)

    @torch.inference_mode()
    def look(self, content: str | Tensor) -> Finding | None:
        """Whether a picture, or a frame of a clip, counts."""
        if isinstance(content, str):
            return None
        frames = [self._seen(one) for one in sampled(content, self.frames)]
        for start in range(0, len(frames), _BATCH):
            seen = torch.stack(frames[start : start + _BATCH])
            _, found = self._network(clip_input=seen, images=[np.zeros((1, 1, 3)) for _ in seen])
            if any(found):
                return Finding("sexual")
        return None

    def _seen(self, picture: Image.Image) -> Tensor:
        """A picture as CLIP sees it, [3, side, side]: the shorter side resized, the middle cut out."""
        side = self._side
        scale = side / min(picture.size)
        width, height = (max(side, round(n * scale)) for n in picture.size)
        left, top = (width - side) // 2, (height - side) // 2
        whole = picture.resize((width, height), Image.Resampling.BICUBIC)
        cut = np.asarray(whole.crop((left, top, left + side, top + side)), np.float32) / 255
        return torch.from_numpy((cut - self._mean) / self._deviation).permute(2, 0, 1).float()


def _normalisation(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the colours; CLIP's where the folder does not say."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        found = [np.asarray(said[name], np.float32) for name in ("image_mean", "image_std")]
    except (OSError, ValueError, KeyError, TypeError):
        found = [np.asarray(one, np.float32) for one in (_MEAN, _DEVIATION)]
    if any(one.shape != (3,) or not np.isfinite(one).all() for one in found) or (found[1] <= 0).any():
        raise MultigenError(f"{path}: image_mean and image_std are not allowed. Allowed: three numbers each.")
    return found[0], found[1]
