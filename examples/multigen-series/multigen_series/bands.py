"""Bands: many forecasts of one past as one CSV file, with the median and the ends of the middle 50% and 90%.

`python -m multigen_series.bands runs/driving/edits-1/media bands.csv`
"""

from __future__ import annotations

import argparse
import csv
import re
from pathlib import Path

import numpy as np

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEAST = 19  # forecasts: their lowest and highest are then the ends of the middle 90%


def bands(folder: Path, out: Path) -> Path:
    """Write the quantiles of the CSV files of a folder. ValueError for too few of them, or of several shapes.

    M forecasts divide what may follow into M + 1 parts that are as likely: a quantile is a place among those.
    """
    files = sorted(folder.glob("*.csv"))
    rows = [list(csv.reader(file.open(encoding="utf-8", newline=""))) for file in files]
    if not rows or any(len(one) != len(rows[0]) or one[0] != rows[0][0] for one in rows):
        raise ValueError(f"{folder}: needs forecasts of one past, CSV files of the same columns and rows")
    if len(rows) < LEAST:
        raise ValueError(
            f"{folder}: {len(rows)} forecasts do not show 5% and 95%; make {LEAST} or more: -n {LEAST}"
        )
    values = np.array([[[float(v) for v in row] for row in one[1:]] for one in rows])
    time, *channels = rows[0][0]
    levels = np.quantile(values[:, :, 1:], QUANTILES, axis=0, method="weibull")  # [quantile, row, channel]
    with out.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow([time, *(_named(name, q) for name in channels for q in QUANTILES)])
        for k, row in enumerate(levels.transpose(1, 2, 0)):
            table.writerow([f"{v:.9g}" for v in (values[0, k, 0], *row.ravel())])
    return out


def _named(name: str, quantile: float) -> str:
    """The name of a channel's quantile, its unit last: `speed 5% [m/s]`."""
    plain, unit = re.fullmatch(r"(.*?)(\s*\[[^\]]*\])?", name, re.DOTALL).groups("")  # type: ignore[union-attr]
    return f"{plain} {quantile:.0%}{unit}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the media of `multigen edit --extend`")
    parser.add_argument("out", type=Path, help="a CSV file")
    given = parser.parse_args()
    print(bands(given.folder, given.out))
