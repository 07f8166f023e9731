"""report.html: a run on one page that opens from disk, with everything embedded or beside it and no script."""

from __future__ import annotations

import base64
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from multigen.evaluation import svg
from multigen.recipe.manifest import versions
from multigen.storage.files import write_text

FILE = "report.html"
TEMPLATE = "report.html.j2"
EMBED = 24 * 1024**2  # characters of embedded media; what is beyond is shown from its file beside the report
LISTED = 200  # skipped media that are named
KINDS = {
    "image": (".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".bmp"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
    "video": (".mp4", ".webm", ".mov", ".mkv"),
}
MIME = {".jpg": "jpeg", ".jpeg": "jpeg", ".gif": "gif", ".webp": "webp", ".avif": "avif", ".bmp": "bmp"}


@dataclass(frozen=True)
class Card:
    """One medium as the page shows it; `link` and `picture` are URLs, "" where there is none."""

    prompt: str
    seed: object
    name: str
    link: str
    element: Markup
    picture: str


@dataclass
class Embedder:
    """Hands out data URLs while `left` lasts, and links to the files beside the report after that."""

    folder: Path
    left: int
    missing: list[str] = field(default_factory=list)

    def element(self, row: Mapping[str, Any]) -> Markup:
        """The caller's element if it fits, else a player of the file beside; a note if there is neither."""
        given, path = row.get("html"), self.folder / row["file"]
        if given and (len(given) <= self.left or not path.is_file()):
            self.left -= len(given)
            return Markup(given)  # made by the modality, of data it encoded itself
        if path.is_file():
            return _player(self.link(row["file"]), path.suffix.lower())
        self.missing.append(str(row["file"]))
        return Markup('<p class="missing">The file is not there.</p>')

    def picture(self, path: str | Path | None) -> str:
        """A picture file (from the folder, or from the working folder) as a URL, "" if there is none."""
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
        """A link to a file of the folder, "" if it is not there."""
        return _url(Path(name)) if (self.folder / name).is_file() else ""


def write_report(
    folder: Path,
    *,
    title: str,
    recipe_yaml: str,
    log: Sequence[Mapping[str, Any]],
    media: Sequence[Mapping[str, Any]],
    bad_media: Mapping[str, str],
    facts: Mapping[str, str],
    held_out_by_level: Sequence[tuple[float, float]] = (),
    trained: str = "training loss",
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    bars: Sequence[svg.Bar] = (),
    pictures: Mapping[str, Path] | None = None,
    guidance: Sequence[tuple[str, Sequence[svg.Point]]] = (),
) -> Path:
    """Write `folder`/report.html and return its path.

    log: rows with "step" and any of "loss", "lr", "grad_norm", "items_per_s", "held_out" (a number, or a mapping
        with "mean")
    media: rows with "file" (path from `folder`), "prompt", "seed", and "html" (an element that shows it, embedded
        as it is; without one, a player of the file) and "preview" (a picture file) where there are any
    bad_media: name -> why it was skipped
    facts: what stands under the title: device, parameters ...
    held_out_by_level: (log(sigma/alpha), loss)
    trained: what the training's own losses by level are called beside those
    tables: title -> rows, each column -> value
    bars: what an evaluation found of each measure, from 0 (floor) to 1 (real media)
    pictures: caption -> picture file, such as the previews made during training
    guidance: name of a trajectory -> (t, how far guidance moved x0)

    All text is escaped; only "html" is taken as markup. Not-finite numbers are left out of charts, and counted.
    """
    embedder = Embedder(folder, EMBED)
    page = _template().render(
        title=title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        facts=dict(facts),
        tiles=_tiles(log, len(media), len(bad_media)),
        tables=[(name, _columns(rows), list(rows)) for name, rows in (tables or {}).items() if rows],
        bars=Markup(svg.bar_chart(bars, title="Skill of each measure")) if bars else None,
        bad=list(bad_media.items())[:LISTED],
        bad_count=len(bad_media),
        recipe=recipe_yaml,
        versions=versions(),
        **_pictured(embedder, media, pictures or {}),
        **_charts(log, held_out_by_level, trained, guidance),
    )
    # A file name may hold bytes that are no text; they must not cost the report.
    write_text(folder / FILE, page.encode("utf-8", "replace").decode("utf-8"))
    return folder / FILE


def _template() -> jinja2.Template:
    source = resources.files("multigen.evaluation").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


# --- media ------------------------------------------------------------------------------------------------------


def _pictured(
    embedder: Embedder, media: Sequence[Mapping[str, Any]], pictures: Mapping[str, Path]
) -> dict[str, Any]:
    """The template's media and pictures; the media come first where not all can be embedded."""
    cards = [_card(embedder, row) for row in media]
    shown = {caption: embedder.picture(path) for caption, path in pictures.items()}
    return {
        "groups": [(prompt, list(group)) for prompt, group in groupby(cards, key=lambda c: c.prompt)],
        "card_width": _card_width(cards),
        "missing": embedder.missing,
        "pictures": {caption: url for caption, url in shown.items() if url},
    }


def _card(embedder: Embedder, row: Mapping[str, Any]) -> Card:
    return Card(
        prompt=str(row.get("prompt", "")),
        seed=row.get("seed", ""),
        name=Path(row["file"]).name,
        link=embedder.link(row["file"]),
        element=embedder.element(row),
        picture=embedder.picture(row.get("preview")),
    )


def _card_width(cards: Sequence[Card]) -> int:
    """Pixels: wide for players and their pictures, as narrow as a row of small pictures otherwise."""
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


# --- numbers ----------------------------------------------------------------------------------------------------


def _charts(
    log: Sequence[Mapping[str, Any]],
    levels: Sequence[tuple[float, float]],
    trained: str,
    guidance: Sequence[tuple[str, Sequence[svg.Point]]],
) -> dict[str, Any]:
    """The template's charts, and how many losses are in none of them."""
    losses = [row["loss"] for row in log if isinstance(row.get("loss"), float)]
    return {
        "loss": _loss_chart(log),
        "not_finite": sum(1 for loss in losses if not math.isfinite(loss)),
        "small": _small_charts(log),
        "guidance": _guidance_charts(guidance),
        "levels": _level_chart(levels, _trained_by_level(log), trained),
    }


def _points(log: Sequence[Mapping[str, Any]], key: str) -> list[svg.Point]:
    """(step, value) of the rows that have the number."""
    return svg.finite([(r["step"], r[key]) for r in log if isinstance(r.get(key), int | float)])


def _held_out(log: Sequence[Mapping[str, Any]]) -> list[svg.Point]:
    found = []
    for row in log:
        value = row.get("held_out")
        value = value.get("mean") if isinstance(value, Mapping) else value
        if isinstance(value, int | float):
            found.append((row["step"], value))
    return svg.finite(found, above=0)


def _smoothed(points: Sequence[svg.Point]) -> list[svg.Point]:
    return svg.smooth(points, max(len(points) // 40, 1))


def _tiles(log: Sequence[Mapping[str, Any]], made: int, skipped: int) -> list[tuple[str, str]]:
    """The run in a few numbers: (name, value)."""
    losses, held_out = svg.finite(_points(log, "loss"), above=0), _held_out(log)
    speeds = [y for _, y in _points(log, "items_per_s")]
    tiles = [("media", f"{made:,}")] if made or not log else []
    if log:
        tiles.append(("steps", f"{int(max(r['step'] for r in log)):,}"))
    if losses:
        tail = losses[-max(len(losses) // 20, 1) :]
        tiles.append(("loss", _short(statistics.fmean(y for _, y in tail))))
    if held_out:
        tiles.append(("held-out loss", _short(held_out[-1][1])))
    if speeds:
        tiles.append(("items/s", _short(statistics.median(speeds))))
    if waiting := [y for _, y in _points(log, "waited")]:
        tiles.append(("waiting for data", f"{statistics.fmean(waiting):.1%}"))
    if skipped:
        tiles.append(("skipped", f"{skipped:,}"))
    return tiles


def _short(value: float) -> str:
    return svg.number(float(f"{value:.3g}"))


def _loss_chart(log: Sequence[Mapping[str, Any]]) -> Markup | None:
    losses, held_out = svg.finite(_points(log, "loss"), above=0), _held_out(log)
    series = [
        svg.Series("loss", "raw", svg.thin(losses, 300)),
        svg.Series("smoothed loss", "smoothed", svg.thin(_smoothed(losses), 150)),
        svg.Series("held-out loss", "held", held_out, "both"),
    ]
    series = [s for s in series if s.points]
    if not series:
        return None
    return Markup(svg.chart(series, title="Loss by training step", x_label="step", log=True))


def _trained_by_level(log: Sequence[Mapping[str, Any]]) -> list[svg.Point]:
    """(log(sigma/alpha), loss): means over the last tenth of the rows that have training losses by level."""
    rows = [row["levels"] for row in log if isinstance(row.get("levels"), Mapping)]
    rows = rows[-max(len(rows) // 10, 1) :]
    found: dict[float, list[float]] = {}
    for row in rows:
        for level, loss in row.items():
            found.setdefault(float(level), []).append(float(loss))
    return [(level, statistics.fmean(losses)) for level, losses in found.items()]


def _level_chart(levels: Sequence[svg.Point], trained: Sequence[svg.Point], name: str) -> Markup | None:
    held, seen = (sorted(svg.finite(points, above=0)) for points in (levels, trained))
    series = [
        svg.Series("held-out loss", "level", held, "both"),
        svg.Series(name, "raw", seen, "both"),
    ]
    series = [s for s in series if s.points]
    if not series:
        return None
    return Markup(
        svg.chart(
            series,
            title="Loss by noise level",
            x_label="log(sigma / alpha)",
            log=True,
        )
    )


def _small_charts(log: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    wanted = {"learning rate": "lr", "gradient norm": "grad_norm", "items a second": "items_per_s"}
    out = []
    for name, key in wanted.items():
        points = svg.thin(_points(log, key), 150)
        if len(points) > 1:
            series = [svg.Series(name, "smoothed", points)]
            picture = svg.chart(series, title=f"{name} by step", x_label="step", width=360, height=190)
            out.append((name, Markup(picture)))
    return out


def _guidance_charts(guidance: Sequence[tuple[str, Sequence[svg.Point]]]) -> list[tuple[str, Markup]]:
    out = []
    for name, points in guidance:
        points = svg.finite(points)
        if len(points) > 1:
            title = f"trajectory {name}"
            series = [svg.Series(title, "smoothed", points)]
            picture = svg.chart(series, title=f"guidance of {title} by t", x_label="t", width=360, height=190)
            out.append((title, Markup(picture)))
    return out


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row))
