"""Build the documentation: `python -m docs` writes it to build/site; `python -m docs serve` shows it while you write.

The build is strict and offline: a broken link, anchor or reference ends it with code 1, and no page asks another host
for a font, a style or a script. It needs the extra `docs`. Pages open from the disk; their search needs a server:
`python -m http.server -d build/site`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from docs.generate import stage
from docs.outside import outside_references

ROOT = Path(__file__).absolute().parent.parent
BUILD = ROOT / "build"


def main() -> int:
    """The exit code of the build."""
    parser = argparse.ArgumentParser(prog="python -m docs", description="Build the documentation.")
    parser.add_argument("command", nargs="?", choices=["build", "serve"], default="build")
    command = parser.parse_args().command
    config = stage(BUILD)
    arguments = ["serve"] if command == "serve" else ["build", "--strict", "--clean"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    code = subprocess.call(
        [sys.executable, "-m", "zensical", *arguments, "--config-file", str(config)], env=environment
    )
    if code or command == "serve":
        return code
    found = outside_references(BUILD / "site")
    for page, address in found:
        print(f"{page}: asks another host: {address}", file=sys.stderr)
    print(BUILD / "site" / "index.html")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
