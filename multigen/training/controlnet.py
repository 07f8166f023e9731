"""ControlNet training: a network that leads the frozen one by a picture, learned from pairs of pictures."""

from __future__ import annotations

from pathlib import Path

from multigen.backbones.diffusers import Diffusers
from multigen.conditioners import Conditioner
from multigen.core.backbone import Backbone
from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder import CONTROLNET
from multigen.storage.files import atomic_folder
from multigen.training.adapting import Adaptation, Learned, Made, refused


class ControlNet(Adaptation):
    """A ControlNet (Zhang et al. 2023, arXiv:2302.05543): a copy of the U-Net, added through zeros, which learns

        E ||eps - eps_theta(x_t, t, c, picture)||^2

    from pictures and their control pictures, such as edges (data.name=pairs). The U-Net stays as it is.
    """

    place = CONTROLNET
    items = ("control",)

    def __init__(self) -> None:
        """It has no settings."""

    def check(self, backbone: Backbone, conditioner: Conditioner) -> None:
        """Raise RecipeError for a network that takes no ControlNet."""
        try:
            backbone.check_control()
        except ValueError as error:
            raise refused("", str(error)) from error

    def inject(self, backbone: Backbone, conditioner: Conditioner, seed: int) -> None:
        """Put it beside the network."""
        backbone.learn_control(seed)

    def made(self, learned: Learned) -> Made:
        """Return nothing: it leads only with a picture, which a request for media names."""
        return Made()

    def read(self, folder: Path) -> Made:
        """Return nothing, likewise."""
        return Made()

    def write(self, folder: Path, learned: Learned, backbone: Backbone) -> None:
        """Write the folder that diffusers' `ControlNetModel.from_pretrained` reads."""
        assert isinstance(backbone, Diffusers) and backbone.control is not None
        place = folder / self.place
        try:
            with atomic_folder(place) as temporary:
                backbone.control.save_pretrained(temporary, safe_serialization=True)  # pyright: ignore[reportCallIssue]
        except (OSError, RuntimeError) as error:
            raise MultigenError(f"{place}: it cannot be written ({reason(error)})") from error
