"""AnimateDiff (Guo et al. 2023, arXiv:2307.04725): Stable Diffusion 1.x with a motion module in each block."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from multigen.core.conditioning import Cond
from multigen.errors import MultigenError, reason
from multigen.families.modelscope import ModelScope
from multigen.families.unet import CLIP
from multigen.registry import Given
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import AUTOENCODER, Component

LONGEST = 32  # frames that the motion modules have places for, where the configuration does not say
PLAIN, MOVING = "UNet2DConditionModel", "UNetMotionModel"
ADAPTER = Component("diffusers", ("MotionAdapter",), optional=True)


class AnimateDiff(ModelScope):
    """AnimateDiff: the text is heard by each frame.

    motion  folder of motion modules (MotionAdapter) for a network of pictures; None: those of the pipeline, which may
            stand in its network or beside it

    MultigenError for a network of pictures without motion modules, and for ones that do not go with it.
    """

    title = "AnimateDiff"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", (MOVING, PLAIN)),
        "motion_adapter": ADAPTER,
        "vae": AUTOENCODER,
        **CLIP,
    }
    scale = 7.5
    prompted = True

    def __init__(self, *, folder: Given[Path], motion: Given[Path | None] = None) -> None:
        super().__init__(folder=folder)
        self._loose = motion is not None
        plain = self.listed["unet"] == PLAIN
        if motion is not None and not plain:
            raise MultigenError(f"{motion}: the network of {folder} has motion modules of its own")
        if motion is None and plain and self.listed["motion_adapter"] is None:
            raise MultigenError(
                f"{folder}: its network makes pictures, and no motion_adapter is listed beside it; give one: "
                "adapters=[{name: motion_adapter, path: FOLDER}]"
            )
        self._motion = (motion or folder / "motion_adapter") if plain else None
        self._places = self.config
        if self._motion is not None:
            self._places = diffusers_folder.component(self._motion.parent, self._motion.name, ADAPTER)

    @property
    def scheduler(self) -> Mapping[str, Any]:
        """What loose motion modules were trained with, whatever Stable Diffusion was."""
        return {"beta_schedule": "linear", "clip_sample": False, "steps_offset": 1} if self._loose else {}

    def load(self, make: Callable[[Path, str, Component], nn.Module]) -> nn.Module:
        """The network, with motion modules put into one of pictures."""
        network = super().load(make)
        if self._motion is None:
            return network
        diffusers: Any = diffusers_folder.imported("diffusers")
        blank = next(network.parameters()).is_meta
        modules = (
            diffusers.MotionAdapter.from_config(dict(self._places))
            if blank
            else diffusers_folder.lone_network(self._motion, "MotionAdapter")
        )
        try:
            made = diffusers.UNetMotionModel.from_unet2d(network, modules, load_weights=not blank)
            return nn.Module.float(made)  # diffusers' own warns of nothing
        except (ValueError, RuntimeError) as error:
            raise MultigenError(
                f"{self._motion}: these motion modules are of another network than {self.folder}'s ({reason(error)})"
            ) from error

    def media(self) -> Mapping[str, Any]:
        """As many frames as usual, or as there are places for."""
        usual = super().media()
        return {**usual, "frames": min(usual["frames"], self.longest)}

    @property
    def longest(self) -> int:
        """Frames that the motion modules have places for."""
        return int(self._places.get("motion_max_seq_length") or LONGEST)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for more frames than the motion modules have places for."""
        if shape[1] > self.longest:
            raise ValueError(
                f"{shape[1]} frames are not allowed. Allowed: up to {self.longest}; longer videos are made in windows."
            )

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], c_noise [B] from 0 to N - 1, cond.tokens [B, L, K] -> F [B, C, T, H, W]."""
        assert cond.tokens is not None
        heard = cond.tokens.repeat_interleave(x.shape[2], 0)
        return network(x, c_noise, heard, return_dict=False)[0]
