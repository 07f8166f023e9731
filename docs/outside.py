"""What a built page would ask another host for: fonts, styles, scripts, pictures, frames."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

# Attributes that a browser follows without being asked; `href` of a link (`a`) is followed by readers only.
LOADED = {"src", "srcset", "data", "poster", "action", "background"}
CSS_ADDRESS = re.compile(r"""(?:url\(|@import)\s*["']?((?:https?:)?//[^"')\s]+)""")


class _Loads(HTMLParser):
    """Collects the addresses on other hosts that a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            follows = name in LOADED or (name == "href" and tag in ("link", "use", "image"))
            if follows and value and re.match(r"(https?:)?//", value):
                self.found.append(value)
            if name == "style" and value:
                self.found += CSS_ADDRESS.findall(value)

    def handle_data(self, data: str) -> None:
        if self.get_starttag_text() == "<style>":
            self.found += CSS_ADDRESS.findall(data)


def outside_references(site: Path) -> list[tuple[str, str]]:
    """(file, address) of everything under `site` that would be fetched from elsewhere."""
    found = []
    for path in sorted(site.rglob("*")):
        name = str(path.relative_to(site))
        if path.suffix == ".html":
            page = _Loads()
            page.feed(path.read_text(encoding="utf-8"))
            found += [(name, address) for address in page.found]
        elif path.suffix == ".css":
            found += [(name, a) for a in CSS_ADDRESS.findall(path.read_text(encoding="utf-8"))]
    return found
