"""The page at /: static files of the package, under a strict content security policy."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse, HTMLResponse, Response

from multigen.serving.api.errors import ApiError

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parent.parent / "page"
TYPES = {
    ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".txt": "text/plain",
}  # fmt: skip
_NAME = re.compile(r"(?:[a-z0-9-]+/)?[A-Za-z0-9-]+\.[a-z]+")


def policy(nonce: str) -> str:
    """What the page may load: this server alone, and media that it made itself.

    nonce  of style elements: wavesurfer.js puts one into each of its shadow roots
    """
    return (
        "default-src 'none'; script-src 'self'; "
        f"style-src 'self' 'nonce-{nonce}'; img-src 'self' blob: data:; media-src 'self' blob:; "
        "connect-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )


@router.get("/", name="page")
async def index() -> Response:
    """The page."""
    nonce = secrets.token_urlsafe(16)
    text = (FOLDER / "index.html").read_text(encoding="utf-8")
    text = text.replace("{nonce}", nonce).replace("{modules}", _preloaded())
    headers = {"content-security-policy": policy(nonce), "cache-control": "no-store"}
    return HTMLResponse(text, headers=headers)


def _preloaded() -> str:
    """Links to all modules, so that a browser asks for them at once and not one behind the other."""
    names = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.js"))
    return "\n    ".join(f'<link rel="modulepreload" href="page/{name}" />' for name in names)


@router.get("/page/{name:path}", name="page_file")
async def page_file(name: str) -> Response:
    """A file of the page; none but those of the package."""
    path = FOLDER / name
    if not _NAME.fullmatch(name) or path.suffix not in TYPES or not path.is_file():
        raise ApiError(404, "the page has no such file", code="not_found")
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return FileResponse(path, media_type=TYPES[path.suffix], headers=headers)
