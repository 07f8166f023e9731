"""What `multigen film` does: more frames, or larger ones, of a clip of any length, in bounded memory.

decode -> windows of time -> blocks of space -> the model -> cross-fades -> encode, frame by frame.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from pathlib import Path

import numpy as np
import torch

from multigen.core.drive import is_out_of_memory
from multigen.errors import Interrupted, MediaError, MultigenError, message
from multigen.generation.part_like import PartLike
from multigen.generation.request import Request
from multigen.marks.media import key_for, marked
from multigen.modalities.media import Media
from multigen.modalities.raster import from_levels, to_levels
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.provenance.made import Made, SourceFile
from multigen.provenance.marking import LONG, write_long
from multigen.runs.film.cuts import AUTO, places, scenes
from multigen.runs.film.windows import Block, Levels, blocks, joined
from multigen.runs.film.work import Work, works
from multigen.runs.film.work import check_makes as check_makes
from multigen.runs.opened import open_model
from multigen.training.signals import Caught, signals

log = logging.getLogger(__name__)

_CUTS = 12  # that are listed


def film(
    source: str,
    clip: Path,
    out: Path,
    *,
    times: int | None = None,
    restore: PartLike | None = None,
    request: Request | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    device: str | None = None,
    lossless: bool = False,
    cuts: str | Sequence[float] = AUTO,
    quiet: bool = False,
) -> Path:
    """Make more frames, or larger ones, of a clip with a trained model; `out`, a new .mp4 or .mov.

    times      how many frames for one, of a model that fills in; a cascade says that itself, or its powers
    restore    an operator that is undone, such as `downsample`
    request    prompt, steps and guidance of what is made
    overrides  changes to how the model samples: `sample.size` is the side of a block, `sample.batch` how many of them
               share a network call
    lossless   H.264 in RGB, every value as it is
    cuts       where scenes begin, in s, as (2.5, 7.04) or "2.5,7.04": nothing is made between two of them; "auto": they
               are found, "off": there are none

    The clip's frames stay as they are where only frames are added, and its sound goes along. Where it is stopped or the
    clip is damaged, what is made so far stays. MultigenError for what does not fit the model.
    """
    check_out(out)
    told = places(cuts)
    model = open_model(source, overrides, device)
    passes = works(model, times, restore)
    own = model.modality.native(clip)
    assert isinstance(own, Video)
    info = own.info(clip)
    asked = dataclasses.replace(request or Request(), seed=model.recipe.seed if seed is None else seed)
    passes = [work.within(own.size, model.codec) for work in passes]
    rate, size = _after(passes, own.fps, own.size)
    _say(model, passes, own, rate, size)
    with (
        Progress("film", round(info.duration * own.fps), "frames", quiet=quiet) as progress,
        signals() as caught,
    ):
        reading = _Reading(own.each(clip), progress, caught)
        kept = round(rate / own.fps) if size == own.size else 0
        found: list[float] = []
        frames = _made(model, passes, asked, scenes(iter(reading), told, own.fps, found.append))
        making = _Making(_marked(model, own, frames, kept), caught)
        write_long(out, _origin(model, clip), partial(making.write, own.at(rate), size, lossless))
    if found:
        log.info("%d cuts, at %s s: nothing is made between their scenes", len(found), _listed(found))
    _raise_ended(reading, making, out)
    if caught:
        raise Stopped(caught[0], out, reading.count / own.fps)
    return out


def _after(passes: Sequence[Work], rate: float, size: tuple[int, int]) -> tuple[float, tuple[int, int]]:
    """Frames a second and (height, width) of a clip after some passes."""
    for times, tall, wide in (work.factors for work in passes):
        rate, size = rate * times, (size[0] * tall, size[1] * wide)
    return rate, size


def _origin(model: Model, clip: Path) -> Made:
    """How a film is made, for its file."""
    source, recipe = SourceFile(clip.suffix.lower(), clip), model.recipe
    return Made(recipe.name, model.known_hash(), recipe.provenance.sign, edited=True, source=source)


def _raise_ended(reading: _Reading, making: _Making, out: Path) -> None:
    """Raise why a film that was written ended early, or its sound did."""
    if error := making.error or reading.error:
        error.args = (f"{error}; {out} holds what comes before",)
        raise error
    if making.silent is not None:
        making.silent.args = (f"{making.silent}; {out} holds all its frames",)
        raise making.silent


class Stopped(Interrupted):
    """A signal stopped a film; what was made is kept, if anything was."""

    def __init__(self, signum: int, out: Path | None, seconds: float) -> None:
        kept = f"{out} holds the first {seconds:.2f} s" if out is not None else "nothing was finished"
        Exception.__init__(self, f"stopped: {kept}")
        self.code, self.step, self.how = 128 + signum, 0, ""


def check_out(out: Path) -> None:
    """MultigenError for a file that is there, or of a format that is not written as it comes."""
    if out.suffix.lower() not in LONG:
        raise MultigenError(message(f"--out {out}: the suffix", out.suffix, LONG))
    if out.exists():
        raise MultigenError(f"--out {out}: it is there already; give a new file")


class _Reading:
    """The frames of a clip, until it ends, is damaged or the work is stopped."""

    def __init__(self, frames: Iterator[Levels], progress: Progress, caught: Caught) -> None:
        self._frames, self._progress, self._caught = frames, progress, caught
        self.count = 0
        self.error: MediaError | None = None

    def __iter__(self) -> Iterator[Levels]:
        try:
            for frame in self._frames:
                if self._caught:
                    return
                yield frame
                self.count += 1
                self._progress.advance()
        except MediaError as error:
            if not self.count:
                raise
            self.error = error


class _Making:
    """The frames that are made, until they end or one cannot be made. Where that is the first, nothing is written.

    error   why they ended early
    silent  why their sound did
    """

    def __init__(self, frames: Iterable[Levels], caught: Caught) -> None:
        self._frames, self._caught = frames, caught
        self.error: Exception | None = None
        self.silent: MediaError | None = None

    def __iter__(self) -> Iterator[Levels]:
        some = False
        try:
            for frame in self._frames:
                some = True
                yield frame
        except (MultigenError, MemoryError, RuntimeError) as error:
            if not some or not (isinstance(error, MultigenError) or is_out_of_memory(error)):
                raise
            self.error = error
        if not some and self._caught:
            raise Stopped(self._caught[0], None, 0.0)

    def write(self, to: Video, size: tuple[int, int], lossless: bool, path: Path) -> None:
        """Write the frames, (height, width) each, and the sound beside them."""
        self.silent = to.write_each(self, size, path, lossless=lossless)


def _say(model: Model, passes: Sequence[Work], own: Video, rate: float, size: tuple[int, int]) -> None:
    work, count = passes[0], len(passes)
    log.info(
        "%s: %d x %d pixels at %.4g frames/s become %d x %d at %.4g, in windows of %d frames and blocks of %d x %d%s",
        model.recipe.name, own.size[1], own.size[0], own.fps, size[1], size[0], rate, work.frames, work.block[1],
        work.block[0], f", in {count} passes" if count > 1 else "",
    )  # fmt: skip


def _listed(seconds: Sequence[float]) -> str:
    more = ", ..." if len(seconds) > _CUTS else ""
    return ", ".join(f"{t:.2f}" for t in seconds[:_CUTS]) + more


def _made(
    model: Model, passes: Sequence[Work], request: Request, some: Iterable[Iterator[Levels]]
) -> Iterator[Levels]:
    """The frames of all scenes after all passes: each scene by itself."""
    for scene in some:
        yield from reduce(lambda frames, work: _passed(model, work, request, frames), passes, scene)


def _passed(model: Model, work: Work, request: Request, frames: Iterable[Levels]) -> Iterator[Levels]:
    """The frames of a clip after one pass."""
    return joined(
        frames,
        lambda window: _window(model, work, request, window),
        size=work.frames,
        shared=work.shared,
        times=work.factors[0],
    )


def _window(model: Model, work: Work, request: Request, window: list[Levels]) -> list[Levels]:
    """What is made of a window, from its first frame to its last."""
    times, tall, wide = work.factors
    height, width = window[0].shape[:2]
    given = _padded(window, work)
    rows, columns = (blocks(n, side) for n, side in zip(given.shape[1:3], work.block, strict=True))
    places = [(row, column) for row in rows for column in columns]
    canvas = torch.zeros(3, work.frames * times, given.shape[1] * tall, given.shape[2] * wide)
    most = model.recipe.sample.batch
    for first in range(0, len(places), most):
        part = places[first : first + most]
        requests = [_asked(work, request, given, *place, first + k) for k, place in enumerate(part)]
        for (row, column), medium in zip(part, model.stream(requests, batch=most), strict=True):
            y, x = row.start * tall, column.start * wide
            made = medium.tensor.expand(3, -1, -1, -1)
            weights = row.weights.repeat_interleave(tall)[:, None] * column.weights.repeat_interleave(wide)
            canvas[:, :, y : y + made.shape[2], x : x + made.shape[3]] += weights * made
    count = (len(window) - 1) * times + 1
    out = [to_levels(canvas[:, k, : height * tall, : width * wide].clamp(-1, 1)) for k in range(count)]
    if (tall, wide) == (1, 1) and times > 1:
        out[::times] = window  # bit for bit
    return out


def _padded(window: list[Levels], work: Work) -> np.ndarray:
    """A window, uint8 [T, H, W, 3], whose edges and last frame go on until it is as large as a block."""
    height, width = window[0].shape[:2]
    down, right = (max(side - n, 0) for n, side in zip((height, width), work.block, strict=True))
    after = work.frames - len(window)
    return np.pad(np.stack(window), ((0, after), (0, down), (0, right), (0, 0)), mode="edge")


def _asked(
    work: Work, request: Request, given: np.ndarray, row: Block, column: Block, number: int
) -> Request:
    """The request for one block; its seed is the same in every window, so that what stands still stays."""
    height, width = work.block
    part = given[:, row.start : row.start + height, column.start : column.start + width]
    seed = ((request.seed or 0) + number) % 2**62
    return dataclasses.replace(request, seed=seed, edit=work.edit(from_levels(part)))


def _marked(model: Model, own: Video, frames: Iterable[Levels], kept: int) -> Iterator[Levels]:
    """The frames with the watermark, where the recipe asks for one; but for each `kept`-th, which is the clip's."""
    key = key_for(model.recipe.watermark)
    for k, frame in enumerate(frames):
        if key is None or (kept and k % kept == 0):
            yield frame
        else:
            yield to_levels(marked(Media(from_levels(frame[None]), own), key).tensor)[0]
