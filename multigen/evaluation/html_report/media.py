"""Media on the page: embedded while there is room, linked to the files beside the report after that."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

EMBED = 24 * 1024**2  # characters of embedded media in one report
SMALL = 512 * 1024  # characters of a source that every card of its edits may hold
KINDS = {
    "image": (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".bmp"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
    "video": (".mp4", ".webm", ".mov", ".mkv"),
}
MIME = {".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".avif": "avif", ".bmp": "bmp"}


@dataclass(frozen=True)
class Source:
    """The source of an edit: its file's name, and an element that shows it."""

    name: str
    element: Markup


@dataclass(frozen=True)
class Card:
    """One medium as the page shows it; `link` and `picture` are URLs, "" where there is none.

    source  what it was edited from; None where it was made anew
    facts   what is measured of it, such as "-16.0 LUFS"
    """

    prompt: str
    seed: object
    name: str
    link: str
    element: Markup
    picture: str
    source: Source | None = None
    facts: str = ""


@dataclass
class Embedder:
    """Gives out data URLs while the budget of `left` characters lasts, then links to files in `folder`.

    `missing` collects the names of files that are gone.
    """

    folder: Path
    left: int
    missing: list[str] = field(default_factory=list)
    sources: dict[str, Source] = field(default_factory=dict)

    def source(self, name: str, html: str | None) -> Source:
        """The source of an edit: small ones are embedded in every card, large ones are linked."""
        if name not in self.sources:
            row = {"file": name, "html": html if html is not None and len(html) <= SMALL else None}
            self.sources[name] = Source(Path(name).name, self.element(row))
        return self.sources[name]

    def element(self, row: Mapping[str, Any]) -> Markup:
        """The row's own element if it fits, else a player of the file; a note if neither is there."""
        given, path = row.get("html"), self.folder / row["file"]
        if given and (len(given) <= self.left or not path.is_file()):
            self.left -= len(given)
            return Markup(given)  # made by the modality, of data it encoded itself
        if path.is_file():
            return _player(self.link(row["file"]), path.suffix.lower())
        self.missing.append(str(row["file"]))
        return Markup('<p class="missing">The file is missing.</p>')

    def picture(self, path: str | Path | None) -> str:
        """URL of a picture file, given relative to the folder or to the working directory; "" if it is missing."""
        places = [] if path is None else [self.folder / path, Path(path)]
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            return ""
        inside = path.resolve().is_relative_to(self.folder.resolve())
        size = path.stat().st_size * 4 // 3
        if size > self.left and inside:
            return _url(path.resolve().relative_to(self.folder.resolve()))
        self.left -= size
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"data:image/{MIME.get(path.suffix.lower(), 'png')};base64,{data}"

    def link(self, name: str) -> str:
        """Relative URL of a file of the folder; "" if it is missing."""
        return _url(Path(name)) if (self.folder / name).is_file() else ""


def media_section(
    folder: Path,
    media: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Path],
    previews: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The template's media, pictures and previews. Media come first where there is no room to embed everything."""
    embedder = Embedder(folder, EMBED)
    cards = [_card(embedder, row) for row in media]
    tried = [_card(embedder, row) for row in previews]
    shown = {caption: embedder.picture(path) for caption, path in pictures.items()}
    return {
        "groups": _groups(cards),
        "previews": _groups(tried),
        "preview_width": _card_width(tried),
        "card_width": _card_width(cards),
        "missing": embedder.missing,
        "pictures": {caption: url for caption, url in shown.items() if url},
    }


def _groups(cards: Sequence[Card]) -> list[tuple[str, Source | None, list[Card]]]:
    """Cards by prompt and source, in their order."""
    grouped = groupby(cards, key=lambda c: (c.prompt, c.source))
    return [(prompt, source, list(group)) for (prompt, source), group in grouped]


def _card(embedder: Embedder, row: Mapping[str, Any]) -> Card:
    source = row.get("source")
    return Card(
        source=None if source is None else embedder.source(source, row.get("source_html")),
        facts=", ".join(row.get("facts", {}).values()),
        prompt=str(row.get("prompt", "")),
        seed=row.get("seed", ""),
        name=Path(row["file"]).name,
        link=embedder.link(row["file"]),
        element=embedder.element(row),
        picture=embedder.picture(row.get("preview")),
    )


def _card_width(cards: Sequence[Card]) -> int:
    """Pixels: wide for players and their pictures, otherwise as narrow as a row of small pictures."""
    if any(c.picture or "<audio" in c.element[:200] for c in cards):
        return 400
    most = max((len(list(group)) for _, group in groupby(cards, key=lambda c: c.prompt)), default=1)
    return 130 + 105 * min(most - 1, 3)


def _player(url: str, suffix: str) -> Markup:
    if suffix in KINDS["audio"]:
        return Markup('<audio controls preload="metadata" src="{}"></audio>').format(url)
    if suffix in KINDS["video"]:
        return Markup('<video controls loop muted playsinline src="{}"></video>').format(url)
    if suffix in KINDS["image"]:
        return Markup('<img src="{}" alt="">').format(url)
    return Markup('<a href="{}">open</a>').format(url)


def _url(path: Path) -> str:
    return quote(path.as_posix())
