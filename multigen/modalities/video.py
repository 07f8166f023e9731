"""Video: what FFmpeg or Pillow reads, at one frame rate, as [C, T, H, W] in [-1, 1]."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import HEIGHT, TIME, WIDTH, Info, Limits, Modality, Other
from multigen.modalities.contact_sheet import GAP, contact_sheet
from multigen.modalities.file_check import check_clip
from multigen.modalities.frame import Frame
from multigen.modalities.frames import (
    PICTURES,
    at_rate,
    is_still,
    read_frames,
    read_header,
    shown_at,
    steady_rate,
)  # fmt: skip
from multigen.modalities.heat import along_time, laid_over
from multigen.modalities.joined import MadeSound
from multigen.modalities.known import KNOWN
from multigen.modalities.member import Member, Source, as_source
from multigen.modalities.pace import per_second
from multigen.modalities.raster import (
    from_levels,
    height_width,
    resize_to_cover,
    to_channels,
    to_levels,
    to_pil,
)
from multigen.modalities.video_encoding import encode_frames, encode_video, save_animation
from multigen.modalities.video_player import evenly, player
from multigen.modalities.video_sound import CONTAINERS, Sound, sound_of
from multigen.storage.files import atomic

log = logging.getLogger(__name__)
_COLUMNS = 16  # most frames of each video in a contact sheet


class Video(Modality):
    """The modality of videos.

    size             natural size: a side, or (height, width), in pixels
    frames           natural number of frames
    fps              frame rate, frames/s
    channels         1 grey, 3 RGB
    max_pixels       most pixels of one frame of a file
    max_bytes        most bytes of a file
    max_seconds      longest file, s
    max_frames       most frames of a file
    max_clip_pixels  most pixels of all frames that are read together (300 million are 3.6 GB); of an animation (.gif,
                     .webp, .apng) all frames count, because it is always decoded from its start

    Raises ValueError for values out of range.
    """

    name = "video"
    axes = (TIME, HEIGHT, WIDTH)
    suffixes = (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ogv", ".wmv", ".flv", ".ts",
        ".mts", ".3gp", ".gif", ".webp", ".apng",
    )  # fmt: skip
    suffix = ".mp4"
    writes = KNOWN["video"].writes
    animation = ".webp"

    def __init__(
        self,
        *,
        size: int | tuple[int, int] = 32,
        frames: int = 16,
        fps: float = 8.0,
        channels: Literal[1, 3] = 3,
        max_pixels: int = Limits.max_pixels,
        max_bytes: int = Limits.max_bytes,
        max_seconds: float = Limits.max_seconds,
        max_frames: int = Limits.max_frames,
        max_clip_pixels: int = Limits.max_clip_pixels,
    ) -> None:
        if frames < 1:
            raise ValueError(f"frames: {frames!r} is not allowed. Allowed: 1 or more.")
        if not (fps > 0 and math.isfinite(fps)):
            raise ValueError(f"fps: {fps!r} is not allowed. Allowed: more than 0 frames/s.")
        self.size, self.frames, self.fps, self.channels = height_width(size), frames, float(fps), channels
        self.limits = Limits(max_bytes, max_pixels, max_seconds, max_frames, max_clip_pixels)
        self._sound: Sound | MadeSound | None = None  # of the file that this is the native modality of

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, int, int, int]:
        """Return (C, T, H, W); `duration` (s) is rounded to whole frames. ValueError if it is not above 0."""
        count = self.frames if duration is None else self._count(duration)
        return (self.channels, count, *(self.size if size is None else height_width(size)))

    def _count(self, duration: float) -> int:
        if not (duration > 0 and math.isfinite(duration)):
            raise ValueError(f"duration: {duration!r} is not allowed. Allowed: more than 0 s.")
        return max(1, round(duration * self.fps))

    def info(self, path: str | Source) -> Info:
        """Read duration (s), stored size, fps and number of frames from the file's header.

        A file whose header gives no duration, such as a live recording, is read to its end, without decoding.
        """
        path = as_source(path)
        return read_header(path, self.limits)

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read [C, T, H, W] at this modality's rate: the frame that is shown at each start + k/fps (s).

        Variable frame rates are respected, and rotation is applied. A clip that reaches beyond the end is shorter.
        MediaError names the fault or the limit.
        """
        path = as_source(path)
        if start < 0:
            raise ValueError(f"start: {start!r} is not allowed. Allowed: 0 s or more.")
        info = read_header(path, self.limits, count=False)
        count = None if duration is None else self._count(duration)
        count = 1 if count is None and is_still(path, info) else count
        whole = max(0.0, info.duration - start) * self.fps
        expected = whole if count is None else min(count, whole)
        check_clip(path, expected, info.width * info.height, self.limits)
        levels: list[np.ndarray] = []
        last: Frame | None = None
        source = read_frames(path, self.limits, start)
        gap = 1 / (info.fps or self.fps)
        for frame in at_rate(source, self.fps, start, count, gap=gap, promised=info.duration):
            levels.append(levels[-1] if frame is last else frame.levels())
            last = frame
            check_clip(path, len(levels), levels[-1].shape[0] * levels[-1].shape[1], self.limits)
        if not levels:
            end = self.info(path).duration
            raise MediaError(f"{path}: no frame at {start:g} s; the video ends at {end:g} s")
        return to_channels(from_levels(np.stack(levels)), self.channels)

    def each(self, path: str | Source) -> Iterator[np.ndarray]:
        """Read frames, uint8 [H, W, 3], one after another, at this modality's rate; as many as the file has.

        As `read`, in memory that no length needs more of.
        """
        path = as_source(path)
        info = read_header(path, self.limits)
        last: Frame | None = None
        levels = np.empty(0)
        shown = read_frames(path, self.limits)
        for frame in at_rate(
            shown, self.fps, 0.0, None, gap=1 / (info.fps or self.fps), promised=info.duration
        ):
            if frame is not last:
                levels = np.ascontiguousarray(frame.levels()[..., :3])
            yield levels
            last = frame
        if last is None:
            raise MediaError(f"{path}: there is no frame in it")

    def write_each(
        self, frames: Iterable[np.ndarray], size: Sequence[int], path: Path, *, lossless: bool = False
    ) -> MediaError | None:
        """Write frames, uint8 [H, W, 3] of one `size` (height, width), as they come; as `write`.

        lossless  H.264 in RGB, every value as it is. MediaError for a suffix that has none, or takes whole clips alone;
        what ended the sound early, such as damage of its file, is returned
        """
        allowed = [one for one in CONTAINERS if one != ".webm" or not lossless]
        if path.suffix.lower() not in allowed:
            raise MediaError(message(f"{path}: the suffix", path.suffix, allowed))
        with atomic(path) as temporary:
            suffix = path.suffix.lower()
            return encode_frames(
                frames, size, str(temporary), suffix, self.fps, self._sound, lossless=lossless
            )

    def at(self, fps: float) -> Video:
        """This modality at another frame rate."""
        made = copy.copy(self)
        made.fps = fps
        return made

    def native(self, source: str | Source | Tensor) -> Video:
        """The file's own rate, size as it is shown, and sound; of a medium [C, T, H, W] its channels, at this rate.

        One frame has no rate of its own: a picture is a clip at this one. Of a variable rate that of the fast parts
        counts, so that no frame is lost.
        """
        made = copy.copy(self)
        if isinstance(source, Tensor):
            made.channels = 1 if len(source) == 1 else 3
            return made
        path = as_source(source)
        info = self.info(path)
        made.fps = self.fps
        if not is_still(path, info):
            made.fps = steady_rate(path, self.limits, info.fps) or self.fps
        made.channels, made.size = 3, self._shown(path) or (info.height, info.width)
        made._sound = None if path.suffix.lower() in PICTURES else sound_of(path, self.limits)
        return made

    def _shown(self, path: Source) -> tuple[int, int] | None:
        """(height, width) of the first frame as it is shown: headers do not say how a phone was held."""
        with contextlib.closing(read_frames(path, self.limits)) as frames:
            first = next(frames, None)
            return None if first is None else first.levels().shape[:2]

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """[C, T, H, W] at the channels and the rate of `to`: the frame that is shown at each k/fps' (s)."""
        assert isinstance(to, Video)
        return to_channels(media[:, shown_at(media.shape[1], self.fps, to.fps)], to.channels)

    def with_sound_later(self, seconds: float) -> Video:
        """This modality, whose sound begins `seconds` after the pictures."""
        made = copy.copy(self)
        if isinstance(self._sound, Sound):
            made._sound = dataclasses.replace(self._sound, later=seconds)
        return made

    def check_writes(self, suffix: str) -> None:
        """MediaError where a file of this suffix cannot hold a sound that was made."""
        if suffix in CONTAINERS and isinstance(self._sound, MadeSound):
            self._sound.check(suffix)

    def together(self, other: str | Source | Other) -> Video:
        """This modality, whose H.264 and VP9 files also hold a sound: that of a file, or a medium [C, N]."""
        made = copy.copy(self)
        if isinstance(other, str | Path | Member):
            made._sound = sound_of(as_source(other), self.limits)
        elif other.modality.axes == (TIME,):
            made._sound = MadeSound(
                other.tensor.float().clamp(-1, 1).numpy(), round(per_second(other.modality))
            )
        return made

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Take frames of [C, T, H, W] from the start, or at random with `rng`, and resize and crop them to `shape`.

        The resize is antialiased, and the crop is the same for every frame. Short clips repeat their last frame.
        """
        channels, count, height, width = shape
        free = media.shape[1] - count
        first = int(torch.randint(free + 1, (), generator=rng)) if rng is not None and free > 0 else 0
        media = to_channels(media[:, first : first + count], channels)
        fitted = resize_to_cover(media.transpose(0, 1), height, width, rng).transpose(0, 1)
        if free < 0:
            fitted = torch.cat([fitted, fitted[:, -1:].expand(-1, -free, -1, -1)], 1)
        return fitted.contiguous()

    def write(self, media: Tensor, path: str | Path) -> None:
        """Write [C, T, H, W] at `fps`: H.264 (.mp4, .mov, .mkv), VP9 (.webm) or an animation (.gif, .webp, .png).

        Both codecs halve the colour resolution (yuv420p, which plays everywhere). H.264 needs even sizes: odd ones are
        padded with their edge, and `read` crops them again. With both, the native modality of a file writes that file's
        sound, too; what ends it early, such as damage, is logged. MediaError for another suffix.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            raise MediaError(message(f"{path}: the suffix", path.suffix, self.writes))
        levels = to_levels(to_channels(media, 3), str(path))
        fault = None
        with atomic(path) as temporary:
            if suffix in CONTAINERS:
                fault = encode_video(levels, str(temporary), suffix, self.fps, self._sound)
            else:
                save_animation([to_pil(frame) for frame in levels], temporary, self.fps)
        if fault is not None:
            log.warning("%s: its sound is not whole (%s)", path, fault)

    def describe(self, shape: Sequence[int]) -> str:
        """Say frames, size and rate of a shape [C, T, H, W]."""
        _, frames, height, width = shape
        return f"{frames} frames of {width} x {height} pixels at {self.fps:g} frames/s"

    def preview(self, media: list[Tensor]) -> PillowImage.Image:
        """Draw a contact sheet: a row for each video, with up to 16 evenly spaced frames."""
        return contact_sheet([evenly(one, _COLUMNS) for one in media])

    def heat(self, media: Tensor, levels: Tensor) -> PillowImage.Image:
        """Draw the frames of `preview` in grey, with heat [T, H, W] over them."""
        shown = along_time(levels, min(_COLUMNS, media.shape[1]))
        return laid_over(self.preview([media]), shown, gap=GAP)

    def html(self, media: Tensor) -> str:
        """Return a looping <video> with the MP4 embedded; small videos are enlarged without smoothing."""
        return player(to_levels(to_channels(media, 3), "html"), self.fps)
