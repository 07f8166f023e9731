"""Every link of README, CONTRIBUTING, the pages and the cards leads somewhere, and every anchor to a heading."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from docs.generate import DOCS, pages
from tests.docs.blocks import PAGES, ROOT

CARDS = sorted((ROOT / "multigen" / "weights").glob("*/README.md"))
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)", re.DOTALL)


@cache
def generated() -> dict[Path, str]:
    """The pages that the build makes, at the places where it puts them beside the written ones."""
    return {DOCS / name: text for name, text in pages().items()}


def without_code(text: str) -> str:
    text = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as the site and GitHub make them."""
    found = set()
    bare = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", bare, flags=re.MULTILINE):
        title, _, own = heading.partition(" {#")
        found.add(own.rstrip("}") or re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()))
    return found


def broken(page: Path, text: str) -> list[str]:
    """What is wrong with the links of a page."""
    found = []
    for match in LINK.finditer(without_code(text)):
        target, _, anchor = (match[1] or match[2]).partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        place = (page.parent / target).resolve() if target else page
        if place in generated():
            content = generated()[place]
        elif place.is_file():
            content = place.read_text(encoding="utf-8") if place.suffix == ".md" else ""
        elif place.is_dir():
            content = ""
        else:
            found.append(f"{page.name}: {match[0]}: there is no {target}")
            continue
        if anchor and anchor not in anchors(content):
            found.append(f"{page.name}: {match[0]}: no heading #{anchor}")
    return found


@pytest.mark.parametrize("page", [*PAGES, *CARDS], ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    assert not broken(page, page.read_text(encoding="utf-8"))


def test_links_of_the_generated_pages_resolve() -> None:
    assert not [b for page, text in generated().items() for b in broken(page, text)]


def test_a_broken_link_and_a_broken_anchor_are_found() -> None:
    page = ROOT / "docs" / "start.md"
    assert len(broken(page, "[a](none.md) [b](edit.md#none) [c](#none) [d](edit.md#pictures)")) == 3


def test_the_navigation_names_every_page() -> None:
    import tomllib

    def named(nav: object) -> set[str]:
        if isinstance(nav, str):
            return {nav}
        items = nav.values() if isinstance(nav, dict) else nav
        return set().union(*map(named, items))  # type: ignore[arg-type]

    config = tomllib.loads((DOCS / "zensical.toml").read_text(encoding="utf-8"))
    written = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert named(config["project"]["nav"]) == written | set(pages())
