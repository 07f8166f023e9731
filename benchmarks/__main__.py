"""`python -m benchmarks [--only NAME] [--out FILE]`: one table, printed and saved as Markdown and JSON."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers import note
from multigen.storage.files import write_json, write_text

# Each module has `measure() -> list[dict]`; the rows are described in `benchmarks.timing.compare`.
NAMES = (
    "networks",
    "samplers",
    "sampling",
    "codec_music",
    "many",
    "families",
    "augmentation",
    "filling",
    "ranks",
    "reading",
    "fuzz",
    "serving",
    "watermark",
)


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "load": round(os.getloadavg()[0], 2),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a column for each key."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [keys, ["---"] * len(keys), *([_text(row.get(key)) for key in keys] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(facts: dict[str, Any], groups: dict[str, list[dict[str, Any]]]) -> str:
    """A table a group. A ratio under 1 is in multigen's favour: seconds, and lower is better."""
    lines = [f"- {key}: {value}" for key, value in facts.items()]
    for name, rows in groups.items():
        about = (importlib.import_module(f"benchmarks.{name}").__doc__ or "").strip()
        lines += ["", f"## {name}", "", about, "", table(rows)]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, help="one group of rows")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks.md"), help="saved here, and as .json beside"
    )
    given = parser.parse_args(argv)
    if note():
        print(note(), file=sys.stderr, flush=True)
    facts, groups = machine(), {}
    for name in [given.only] if given.only else NAMES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        groups[name] = importlib.import_module(f"benchmarks.{name}").measure()
        # After each group, so that a run that is cut keeps what it has.
        write_text(given.out.with_suffix(".md"), markdown(facts, groups))
        write_json(given.out.with_suffix(".json"), {"machine": facts, "groups": groups})
    print(markdown(facts, groups))
    return 0


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
