"""`python -m benchmarks.refresh NAME [--only STAGE ...] [--out FOLDER]`: makes what belongs to those weights."""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from pathlib import Path

from benchmarks.refresh import STAGES
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    shipped = shipped_weights()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument("name", choices=sorted(shipped), metavar="NAME", help=", ".join(sorted(shipped)))
    parser.add_argument(
        "--only", nargs="+", choices=STAGES, metavar="STAGE", help=f"some of: {', '.join(STAGES)}"
    )
    parser.add_argument("--out", type=Path, help="write here (default: the folder of the weights)")
    given = parser.parse_args(argv)
    if load_recipe(given.name).trains == "codec":
        print(f"{given.name}: a codec, which makes nothing by itself")
        return 0
    out = shipped[given.name].parent if given.out is None else given.out / given.name
    out.mkdir(parents=True, exist_ok=True)
    for stage in given.only or STAGES:
        print(f"{given.name}: {stage} ...", file=sys.stderr, flush=True)
        start = time.perf_counter()
        found = importlib.import_module(f"benchmarks.refresh.{stage}").run(given.name, out)
        print(f"{given.name}: {stage}: {found} ({time.perf_counter() - start:.0f} s)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
