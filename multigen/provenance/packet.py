"""An XMP packet that says how a medium was made: the same in every kind of file, found again by a scan."""

from __future__ import annotations

import html
import json
import mmap
import re
from pathlib import Path
from typing import Any

from multigen.provenance.made import AGENT, FORMAT, Made
from multigen.version import __version__

MOST = 1 << 20  # bytes of a packet that is read
_START, _END = b"<x:xmpmeta", b"</x:xmpmeta>"
_SAID = re.compile(rb'multigen:made="([^"<>]*)"')
_TEXT = (
    '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    'xmlns:multigen="urn:multigen:made:1" xmp:CreatorTool="{tool}" Iptc4xmpExt:DigitalSourceType="{kind}" '
    'multigen:made="{made}"/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


def packet(made: Made) -> bytes:
    """The packet, ASCII."""
    said = html.escape(made.text(), quote=True)
    return _TEXT.format(tool=f"{AGENT} {__version__}", kind=made.source_type, made=said).encode("ascii")


def read_packet(path: Path) -> dict[str, Any] | None:
    """What the first packet of ours in a file says; None where there is none that can be read.

    Whoever can write to the file can write such a packet: it proves nothing.
    """
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return None
        with content:
            at = content.find(_START)
            while at >= 0:
                end = content.find(_END, at)
                if end < 0:
                    return None
                start = content.find(_START, max(at, end - MOST), end)
                if start >= 0 and (found := parse(content[start:end])) is not None:
                    return found
                at = content.find(_START, end)
    return None


def parse(text: bytes) -> dict[str, Any] | None:
    """What a packet says; None where it is not one of ours."""
    match = _SAID.search(text)
    if match is None:
        return None
    return parse_said(html.unescape(match[1].decode("ascii", "replace")))


def parse_said(text: str) -> dict[str, Any] | None:
    """The data of `Made.text`, which may be anyone's: flat, of texts and numbers; None where it is something else."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("format") != FORMAT:
        return None
    return {k: v for k, v in said.items() if isinstance(v, str | int | float)}
