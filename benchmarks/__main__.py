"""`python -m benchmarks [--only NAME] [--out FILE]`: one table, printed and saved as Markdown and JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

# Each module has `measure() -> list[dict]`; the rows are described in `benchmarks.timing.compare`.
NAMES = ("networks", "samplers", "codec_music")


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


def markdown(facts: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table; a ratio under 1 is in multigen's favour where smaller is better, as seconds are."""
    lines = [f"{key}: {value}" for key, value in facts.items()]
    lines += [
        "",
        "| what | multigen | peer | ratio | spread | unit | beside |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = " | ".join(_number(row[k]) for k in ("multigen", "peer", "ratio", "spread"))
        lines.append(f"| {row['what']} | {numbers} | {row['unit']} | {row['peer_name'] or '-'} |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, help="one group of rows")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks.md"), help="saved here, and as .json beside"
    )
    given = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    facts = machine()
    for name in [given.only] if given.only else NAMES:
        if find_spec(f"benchmarks.{name}") is None:
            print(f"benchmarks.{name}: not there", file=sys.stderr)
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        rows += importlib.import_module(f"benchmarks.{name}").measure()
    table = markdown(facts, rows)
    print(table)
    given.out.with_suffix(".md").write_text(table, encoding="utf-8")
    given.out.with_suffix(".json").write_text(
        json.dumps({"machine": facts, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    return 0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")


if __name__ == "__main__":
    sys.exit(main())
