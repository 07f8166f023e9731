"""The page itself: what a run gives is put into the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from multigen.evaluation.html_report.log import Log, tiles
from multigen.evaluation.html_report.media import media_section
from multigen.evaluation.html_report.points import Point
from multigen.evaluation.html_report.training import guidance_charts, training_section
from multigen.recipe.manifest import versions
from multigen.storage.files import write_text

FILE = "report.html"
TEMPLATE = "report.html.j2"
LISTED = 200  # skipped media that are named


def write_report(
    folder: Path,
    *,
    title: str,
    recipe_yaml: str,
    log: Log,
    media: Sequence[Mapping[str, Any]],
    bad_media: Mapping[str, str],
    facts: Mapping[str, str],
    held_out_by_level: Sequence[Point] = (),
    trained: str = "training loss",
    tables: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    bars: Sequence[tuple[str, float]] = (),
    pictures: Mapping[str, Path] | None = None,
    guidance: Sequence[tuple[str, Sequence[Point]]] = (),
    previews: Sequence[Mapping[str, Any]] = (),
) -> Path:
    """Write `folder`/report.html and return its path.

    log                rows of the training log (see `multigen.evaluation.html_report.log`)
    media              rows with "file" (path from `folder`), "prompt", "seed"; optional: "html" (an element that
                       shows it), "preview" (a picture file), "source" (a file), "facts" (name -> what is measured)
    bad_media, facts   name -> why it was skipped; what stands under the title
    held_out_by_level  (log(sigma/alpha), held-out loss); `trained` names the training losses beside them
    tables             title -> rows, each column -> value; "note" is a sentence that stands below its row
    bars               name and skill of each measure, from 0 (floor) to 1 (real media)
    pictures           caption -> picture file, such as the previews made during training
    guidance           name of a trajectory -> (t, how far guidance moved x0)
    previews           rows, as of `media`, of what was made during the training

    Text is escaped; only "html" is inserted as markup. Numbers that are not finite are left out of charts, and counted.
    """
    page = _template().render(
        title=title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        facts=dict(facts),
        tiles=tiles(log, len(media), len(bad_media)),
        tables=[(name, _columns(rows), list(rows)) for name, rows in (tables or {}).items() if rows],
        bars=list(bars),
        bad=[(name, why.removeprefix(f"{name}: ")) for name, why in list(bad_media.items())[:LISTED]],
        bad_count=len(bad_media),
        recipe=recipe_yaml,
        versions=versions(),
        guidance=guidance_charts(guidance),
        **media_section(folder, media, pictures or {}, previews),
        **training_section(log, held_out_by_level, trained),
    )
    # A file name may hold bytes that are not valid Unicode; the report is written nevertheless.
    write_text(folder / FILE, page.encode("utf-8", "replace").decode("utf-8"))
    return folder / FILE


def _template() -> jinja2.Template:
    source = resources.files("multigen.evaluation.html_report").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row if key != "note"))
