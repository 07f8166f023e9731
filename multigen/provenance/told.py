"""All that a media file tells of how it was made: its signed manifest and its plain metadata in one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multigen.provenance.reading import Signed, read_said, read_signed
from multigen.provenance.signing import installed
from multigen.storage.packages import install


def told(path: Path, trust: Sequence[Path] = ()) -> dict[str, Any]:
    """What a file tells: the state of its signature, what was done, what it was made from, and the rest.

    Of a signed file that is intact, what was signed; else what its plain metadata say. MediaError for what is no file.
    """
    signed = read_signed(path, trust) if installed() else None
    intact = signed is not None and signed.state in ("trusted", "signed")
    said = signed.said if signed is not None and intact and signed.said else read_said(path)
    return {
        "path": str(path),
        "signature": sentence(signed),
        "state": "not_checked" if signed is None else signed.state,
        "by": "" if signed is None else signed.by,
        "faults": [] if signed is None else list(signed.faults),
        "actions": [] if signed is None else [dict(one) for one in signed.actions],
        "sources": [] if signed is None else list(signed.sources),
        "said": dict(said or {}),
    }


def sentence(found: Signed | None) -> str:
    """What was read of a signature, for people; None: nobody could look."""
    if found is None:
        return f"not checked: {install('provenance')}"
    why = found.faults[0] if found.faults else ""
    return {
        "trusted": f"intact, signed by {found.by}",
        "signed": f"intact, signed by {found.by}, whom no certificate at hand vouches for (--trust FILE)",
        "altered": f"altered since {found.by or 'somebody'} signed it ({why})",
        "unreadable": f"damaged, or not of the kind that its name says: no manifest can be read ({why})",
        "unsigned": "not signed",
    }[found.state]
