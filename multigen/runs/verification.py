"""What `multigen verify` finds out about files: each check gives rows, and the worst of them the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multigen.errors import MultigenError
from multigen.provenance.reading import check_medium, read_said, read_signed
from multigen.provenance.signing import installed
from multigen.provenance.told import sentence

# From good to bad. absent: a check found nothing, which is no fault of its own. unsigned: nothing proves where the file
# comes from. bad: the file was altered, or cannot be checked.
Verdict = Literal["good", "absent", "unknown", "unsigned", "bad"]
# Exit codes: all is well; altered or damaged; not signed; signed by somebody who is not known.
CODES = {"good": 0, "absent": 0, "unknown": 4, "unsigned": 3, "bad": 1}
_ORDER: tuple[Verdict, ...] = ("good", "absent", "unknown", "unsigned", "bad")


@dataclass(frozen=True)
class Row:
    """What one check found out about a file.

    check    its name
    verdict  how good that is
    text     for people
    data     for scripts
    """

    check: str
    verdict: Verdict
    text: str
    data: dict[str, Any] = field(default_factory=dict)


def signature_rows(path: Path, trust: Sequence[Path] = ()) -> list[Row]:
    """Whether a file is signed, by whom, and whether it is as it was signed."""
    if not installed():
        return [Row("signature", "unsigned", sentence(None), {"state": "not_checked"})]
    found = read_signed(path, trust)
    data = {"state": found.state, "by": found.by, "faults": list(found.faults)}
    return [Row("signature", _VERDICTS[found.state], sentence(found), data)]


_VERDICTS: dict[str, Verdict] = {
    "trusted": "good",
    "signed": "unknown",
    "altered": "bad",
    "unreadable": "bad",
    "unsigned": "unsigned",
}


def metadata_rows(path: Path, trust: Sequence[Path] = ()) -> list[Row]:
    """What plain metadata say, which anybody can write."""
    said = read_said(path)
    if said is None:
        return [Row("metadata", "absent", "no metadata of multigen")]
    text = f"{said.get('action', '')} by {said.get('software', '')}, model {said.get('model', '')}"
    return [Row("metadata", "absent", f"{text} (anybody can write this)", {"said": said})]


def mark_rows(path: Path, trust: Sequence[Path] = ()) -> list[Row]:
    """Whether the signal carries a watermark of the key at hand."""
    from multigen.marks.report import report  # takes torch

    try:
        found = report(path)
    except MultigenError as error:  # a key that cannot be read, a kind without marks: the file is as it was
        return [Row("watermark", "absent", f"not looked for: {error}", {"state": "not_checked"})]
    data = {"state": found.state, "p_value": found.p_value, "payload": found.payload}
    return [Row("watermark", "good" if found.state == "found" else "absent", found.text, data)]


# The checks of a file, in the order of their rows: each from the file, and the certificates that are trusted.
CHECKS: tuple[Callable[[Path, Sequence[Path]], list[Row]], ...] = (signature_rows, metadata_rows, mark_rows)


def check(path: Path, trust: Sequence[Path] = ()) -> list[Row]:
    """The rows of all checks. MediaError for what is no file, or empty."""
    check_medium(path)
    return [row for one in CHECKS for row in one(path, trust)]


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of them."""
    return _ORDER[max(map(_ORDER.index, verdicts), default=0)]
