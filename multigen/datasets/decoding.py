"""From a file to what an item needs of it. These run in the process of a `Guard`, so that little is sent back."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.datasets.augment import Augment
from multigen.errors import MediaError
from multigen.modalities import Info, Modality, Source
from multigen.modalities.image import Image

_READERS = 8  # threads: headers are small reads that mostly wait for the disk
# Of the ratio of its sides: by how much what is turned may differ from the shape that is trained at.
_TURNED = 0.02


def check_turned(augment: Augment, source: Source, sides: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """MediaError for a medium that cannot be turned about the vertical, where the augmentation does that.

    sides  (height, width) of what was read; it must be as the last two of `shape`, as nothing of a panorama may be cut
    """
    (height, width), (h, w) = sides, shape[-2:]
    if augment.turn and abs(width * h / (height * w) - 1) > _TURNED:
        raise MediaError(
            f"{source}: {width} x {height} is not allowed with turn. Allowed: equirectangular ones, whose sides are "
            f"as {w} x {h}; remove it, or set data.turn=false"
        )


def _whole(media: Tensor, shape: tuple[int, ...], augment: Augment) -> Tensor:
    """[..., H, W] in the proportions of `shape` where it is turned, so that nothing of a panorama is cut off.

    The sides are resized as neighbours, for a seam would be turned into the middle.
    """
    (height, width), (h, w) = media.shape[-2:], shape[-2:]
    if not augment.turn or width * h == height * w:
        return media
    times = max(1, round(height / h))
    around = torch.cat([media] * 3, -1).reshape(-1, 1, height, 3 * width)
    found = F.interpolate(
        around, (h * times, 3 * w * times), mode="bicubic", antialias=True, align_corners=False
    )
    middle = found[..., w * times : 2 * w * times].clamp(-1, 1)
    return middle.reshape(*media.shape[:-2], h * times, w * times)


def clip(
    modality: Modality,
    source: Source,
    start: float,
    seconds: float,
    shape: tuple[int, ...],
    augment: Augment = Augment(),  # noqa: B008  # frozen
) -> Tensor:
    """[C, *D] of `shape` from `start` (s) on, neither changed nor turned."""
    media = modality.read(source, start=start, duration=seconds)
    return modality.fit(_whole(media, shape, augment), shape)


def drawn_clip(
    modality: Modality,
    source: Source,
    start: float,
    seconds: float,
    shape: tuple[int, ...],
    augment: Augment,
    speed: float,
    rate: float,
    state: Tensor,
) -> tuple[Tensor, Tensor]:
    """`seconds` s from `start` on as a medium of `shape`, augmented.

    speed   of a sound that becomes slower or faster
    rate    samples or frames/s
    state   of the generator that crops and changes are drawn from. Its state afterwards is returned, too
    """
    rng = torch.Generator()
    rng.set_state(state)
    media = modality.read(source, start=start, duration=seconds)
    if len(shape) == 2:
        media = modality.fit(augment.change_sound(media, speed, rate, rng), shape, rng)
    else:
        check_turned(augment, source, media.shape[-2:], shape)
        media = augment.crop_picture(_whole(media, shape, augment), rng)
        media = augment.change_picture(modality.fit(media, shape, rng), rng)
    return media, rng.get_state()


def small_picture(modality: Modality, source: Source, shape: tuple[int, ...], augment: Augment) -> Tensor:
    """A picture as 8-bit levels [C, H, W], or floats where it is deeper, reduced to what training at `shape` needs.

    It is just so large that a crop of the share `augment.crop` need not be enlarged more than the whole picture.
    """
    media = modality.read(source)
    check_turned(augment, source, media.shape[-2:], shape)
    media = _whole(media, shape, augment)
    (_, height, width), (channels, h, w) = shape, media.shape
    scale = max(height / h, width / w) / math.sqrt(augment.crop)
    if scale < 1:
        media = modality.fit(media, (channels, max(1, round(h * scale)), max(1, round(w * scale))))
    if isinstance(modality, Image) and modality.window is not None:
        return media
    return ((media + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)  # the precision of most picture files


def infos(modality: Modality, paths: list[Path]) -> list[Info | str]:
    """The header of each file, or why it cannot be read."""

    def header(path: Path) -> Info | str:
        try:
            return modality.info(path)
        except MediaError as error:
            return str(error)
        except OSError as error:
            return f"{path}: {error.strerror or error}"

    with ThreadPoolExecutor(min(_READERS, len(paths))) as pool:
        return list(pool.map(header, paths))
