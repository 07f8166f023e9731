"""`python -m benchmarks.faults [ROW ...]`."""

from __future__ import annotations

import argparse

import benchmarks.faults as faults
from benchmarks.__main__ import table


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=faults.__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"some of: {', '.join(faults.FAULTS)}")
    names = parser.parse_args(argv).rows or list(faults.FAULTS)
    if unknown := [name for name in names if name not in faults.FAULTS]:
        parser.error(f"{unknown[0]}: allowed are {', '.join(faults.FAULTS)}")
    rows = faults.measure(names)
    print(table(rows))
    return 0 if all(row["ok"] is not False for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
