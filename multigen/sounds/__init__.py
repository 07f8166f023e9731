"""A small SoundFont that comes with multigen: instruments cut out of Fluid (R3), see LICENSE-fluid.txt.

`python -m benchmarks.soundfont` made it.
"""

from __future__ import annotations

from pathlib import Path

FONT = Path(__file__).parent / "fluid.sf2.xz"  # SoundFont 2.01, compressed
INSTRUMENTS = (
    "harpsichord",
    "church organ",
    "reed organ",
    "french horn",
    "oboe",
    "flute",
)
