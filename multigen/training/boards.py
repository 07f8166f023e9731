"""Boards: TensorBoard and Weights & Biases, optional packages that draw a training's curves and play its previews."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import yaml

from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.schema import Train
from multigen.storage.packages import install
from multigen.training.shown import Shown

# Values of WANDB_MODE; the last two are old names of the first two.
_SUFFIX = {"picture": ".png", "sound": ".wav", "clip": ".gif"}
_MODES = ("offline", "online", "disabled", "shared", "dryrun", "run")


class Board(Protocol):
    """Draws the curves of logged values, and shows media."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name, such as "train/loss"."""
        ...

    def show(self, step: int, found: Sequence[Shown]) -> None:
        """Show media that were made at a step."""
        ...

    def flush(self) -> None:
        """Write everything to disk."""
        ...

    def close(self) -> None:
        """Flush, and end the board."""
        ...


class TensorBoard:
    """Writes event files into `tensorboard/` of the run folder."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name."""
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)

    def show(self, step: int, found: Sequence[Shown]) -> None:
        """Show media under "images" and "audio"; a clip is a moving image."""
        Summary: Any = importlib.import_module("tensorboard.compat.proto.summary_pb2").Summary

        for one in found:
            if one.kind == "sound":
                sound = Summary.Audio(
                    sample_rate=one.rate,
                    num_channels=one.channels,
                    length_frames=one.length,
                    encoded_audio_string=one.content,
                    content_type="audio/wav",
                )
                value = Summary.Value(tag=one.name, audio=sound)
            else:
                image = Summary.Image(
                    height=one.height, width=one.width, colorspace=3, encoded_image_string=one.content
                )
                value = Summary.Value(tag=one.name, image=image)
            self._writer._get_file_writer().add_summary(Summary(value=[value]), step)

    def flush(self) -> None:
        """Write everything to disk."""
        self._writer.flush()

    def close(self) -> None:
        """Flush, and close the event file."""
        self._writer.close()


class WeightsAndBiases:
    """Logs to Weights & Biases, with files in `wandb/` of the run folder and the recipe as configuration.

    Offline unless the environment sets WANDB_MODE=online, so that no recipe sends anything; `wandb sync` uploads later.
    Other variables (WANDB_PROJECT, WANDB_ENTITY ...) work as usual. A resumed training continues the same run. Raises
    MultigenError if wandb reports an error.
    """

    def __init__(self, folder: Path) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._folder = folder
        recipe = folder / "recipe.yaml"
        config = yaml.safe_load(recipe.read_text(encoding="utf-8")) if recipe.is_file() else {}
        try:
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "multigen"),
                name=os.environ.get("WANDB_NAME", folder.name),
                id=self._id(),
                resume="allow",
                mode=os.environ.get("WANDB_MODE", "offline"),
                dir=folder,
                config=config,
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.errors.Error as error:
            reason = str(error).splitlines()[0].rstrip(".")
            hint = "WANDB_MODE=offline needs no account and no network."
            raise MultigenError(f"train.wandb: {reason}. {hint}") from error
        # A step of our own: wandb's must not decrease, as it would after resuming from an earlier checkpoint.
        self._run.define_metric("*", step_metric="step")

    def _id(self) -> str:
        path = self._folder / "wandb" / "id"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(secrets.token_hex(4), encoding="utf-8")
        return path.read_text(encoding="utf-8").strip()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Log values by name."""
        self._run.log({"step": step, **values})

    def show(self, step: int, found: Sequence[Shown]) -> None:
        """Show media as images, audio and video, from files in `wandb/` of the run folder."""
        wandb: Any = importlib.import_module("wandb")
        row: dict[str, Any] = {"step": step}
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(found):
                path = Path(folder, f"{number}{_SUFFIX[one.kind]}")
                path.write_bytes(one.content)
                kinds = {"picture": wandb.Image, "sound": wandb.Audio, "clip": wandb.Video}
                row[one.name] = kinds[one.kind](str(path), caption=one.caption)
            self._run.log(row)  # copies the files

    def flush(self) -> None:
        """Do nothing: a separate process writes."""

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def check(settings: Train) -> None:
    """Raise RecipeError if the package of a board is not installed, MultigenError for an unknown WANDB_MODE."""
    if not settings.wandb:
        return
    if importlib.util.find_spec("wandb") is None:
        raise RecipeError(f"train.wandb: Weights & Biases needs the package wandb: {install('wandb')}")
    if (mode := os.environ.get("WANDB_MODE", "offline")) not in _MODES:
        raise MultigenError(message("WANDB_MODE", mode, _MODES))


@contextmanager
def opened(folder: Path, settings: Train) -> Iterator[list[Board]]:
    """Open the boards of the settings, and close them after the block. TensorBoard only if it is installed."""
    boards: list[Board] = []
    try:
        if settings.tensorboard and importlib.util.find_spec("tensorboard") is not None:
            boards.append(TensorBoard(folder))
        if settings.wandb:
            boards.append(WeightsAndBiases(folder))
        yield boards
    finally:
        for board in boards:
            board.close()
