"""What the site shows: the pages of docs/, and reference pages made from the code, in one folder to build from."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from docs.generate import api, benchmarks, commands, examples, models, parts, recipes

# How a test runs the block below: nothing for readers.
_COMMENT = re.compile(r"^<!-- (?:run|not run|output)\b.*? -->\n", re.MULTILINE)

ROOT = Path(__file__).absolute().parent.parent.parent
DOCS = ROOT / "docs"


def pages() -> dict[str, str]:
    """Every generated page: its place on the site -> Markdown."""
    made = {
        "reference/recipe.md": recipes.keys(),
        "reference/recipes.md": recipes.shipped(),
        "reference/commands.md": commands.page(),
        "reference/parts.md": parts.page(),
        "reference/examples.md": examples.page(ROOT / "examples"),
        "reference/models.md": models.page(ROOT / "multigen" / "weights"),
        "benchmarks.md": benchmarks.page(DOCS / "benchmarks.md", ROOT / "benchmarks" / "results"),
    }
    made |= {f"reference/api/{name}.md": text for name, text in api.pages().items()}
    return made | _project()


def _project() -> dict[str, str]:
    """The repository's own pages. Their links lead into docs/, which is the site's root."""
    texts = {
        "project/contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "project/changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    moved = {name: text.replace("](docs/", "](../") for name, text in texts.items()}
    return moved | {"project/notice.md": f"# Licences\n\n```text\n{notice}```\n"}


def stage(build: Path) -> Path:
    """Copy the written pages, add the generated ones, and return the configuration to build with."""
    target = build / "docs"
    shutil.rmtree(target, ignore_errors=True)
    for path in sorted(
        p for p in DOCS.rglob("*") if p.suffix in (".md", ".png", ".webp", ".css", ".json", ".yml", ".sh")
    ):
        place = target / path.relative_to(DOCS)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    written = {str(p.relative_to(target)): p.read_text(encoding="utf-8") for p in target.rglob("*.md")}
    for name, text in {**written, **pages()}.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(_COMMENT.sub("", text), encoding="utf-8")
    config = build / "zensical.toml"
    config.write_text((DOCS / "zensical.toml").read_text(encoding="utf-8"), encoding="utf-8")
    return config
