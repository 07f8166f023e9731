"""Results, written after every row, so that a run that is cut keeps what it has."""

from __future__ import annotations

import platform
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from multigen.storage.files import write_json, write_text

Row = dict[str, Any]
_TRACE = 6000  # characters of a traceback that are kept


def card(device: torch.device) -> str:
    """The device's name: "NVIDIA H200", "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def slug(name: str) -> str:
    """A name as part of a file's: "nvidia-h200"."""
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def facts(device: torch.device) -> Row:
    """What the figures were measured on."""
    found: Row = {"card": card(device), "torch": torch.__version__, "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "cuda": torch.version.cuda,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


class Report:
    """Sections of rows, as JSON and Markdown; a row has "what" and a column for each further key.

    A row with "ok" False is one that misses its bar, one with "error" a check that could not be made.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        self.file, self.facts = file, facts(device)
        self.sections: dict[str, list[Row]] = {}
        self.start = time.monotonic()

    def add(self, section: str, row: Row) -> None:
        row = {**row, "at_s": round(time.monotonic() - self.start)}
        self.sections.setdefault(section, []).append(row)
        said = ", ".join(f"{k} {_text(v)}" for k, v in row.items() if k not in ("what", "trace", "at_s"))
        print(
            f"[{time.monotonic() - self.start:5.0f} s] {section}: {row['what']}: {said}",
            file=sys.stderr,
            flush=True,
        )
        self.write()

    def extend(self, section: str, rows: Iterable[Row]) -> None:
        for row in rows:
            self.add(section, row)

    @contextmanager
    def guarded(self, section: str, what: str) -> Iterator[None]:
        """An error inside becomes a row; the rest goes on."""
        try:
            yield
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            trace = traceback.format_exc()[-_TRACE:]
            self.add(
                section, {"what": what, "error": f"{type(error).__name__}: {lines[0][:300]}", "trace": trace}
            )

    def write(self) -> None:
        write_json(self.file.with_suffix(".json"), {"machine": self.facts, "sections": self.sections})
        write_text(self.file.with_suffix(".md"), self.markdown())

    def markdown(self) -> str:
        lines = [f"# {self.facts['card']}", "", *(f"- {k}: {v}" for k, v in self.facts.items())]
        for name, rows in self.sections.items():
            keys = list(dict.fromkeys(k for row in rows for k in row if k not in ("trace", "at_s")))
            table = [keys, ["---"] * len(keys), *([_text(row.get(k)) for k in keys] for row in rows)]
            lines += ["", f"## {name}", "", *("| " + " | ".join(line) + " |" for line in table)]
        return "\n".join(lines) + "\n"

    @property
    def failures(self) -> list[Row]:
        """Rows that miss their bar, or could not be made."""
        return [r for rows in self.sections.values() for r in rows if r.get("ok") is False or "error" in r]


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "/").replace("\n", " ")
