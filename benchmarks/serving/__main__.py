"""`python -m benchmarks.serving [PART ...]`: the server's bars; all parts but the soak without a name."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.__main__ import machine, markdown
from benchmarks.serving.parts import DEFAULT, PARTS, STATE, measured
from multigen.storage.files import write_json, write_text


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 where a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("part", nargs="*", choices=[[], *PARTS], help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="few requests: whether it works, not how fast it is"
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of the soak (default: 10)")
    parser.add_argument("--resume", action="store_true", help=f"leave out parts that {STATE} has already")
    parser.add_argument("--out", type=Path, help="saved here as Markdown, and as .json beside")
    given = parser.parse_args(argv)
    facts = machine()
    parts = given.part or DEFAULT
    rows = measured(parts, quick=given.quick, resume=given.resume, minutes=given.minutes)
    text = markdown(facts, {"serving": rows})
    if given.out:
        write_text(given.out.with_suffix(".md"), text)
        write_json(given.out.with_suffix(".json"), {"machine": facts, "groups": {"serving": rows}})
    print(text)
    return int(any(row["verdict"] in ("MISSED", "FAILED") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
