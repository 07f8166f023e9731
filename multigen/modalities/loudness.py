"""Loudness of sounds: measured as ITU-R BS.1770-4 says, and set to what a listener expects."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from av.error import BlockingIOError as NothingYet
from av.error import EOFError as AllRead
from av.filter import Graph
from torch import Tensor

from multigen.modalities.audio_channels import LAYOUTS, PACKED, packed_frame

log = logging.getLogger(__name__)

CEILING = -1.0  # dB: highest true peak that setting the loudness leaves (EBU R 128)
_SHORTEST = (
    3.0  # s that are measured at least, by repeating shorter sounds: the gate works on blocks of 0.4 s
)
_SILENCE = -70.0  # LUFS: the absolute gate


class Loudness(NamedTuple):
    """Integrated loudness in LUFS, and the true peak in dB of full scale; -inf for silence."""

    lufs: float
    peak: float


def measure(samples: np.ndarray, rate: int) -> Loudness:
    """Measure float32 [C, N] at `rate` Hz with FFmpeg's ebur128 filter (ITU-R BS.1770-4, EBU R 128)."""
    length = samples.shape[1]
    times = max(1, math.ceil(_SHORTEST * rate / length))
    samples = np.ascontiguousarray(np.tile(samples, (1, times)), dtype=np.float32)
    graph, layout = Graph(), LAYOUTS[samples.shape[0]]
    source = graph.add_abuffer(sample_rate=rate, format=PACKED, layout=layout, time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "metadata=1:peak=true"), graph.add("abuffersink")
    graph.link_nodes(source, meter, sink).configure()
    source.push(packed_frame(samples, rate, layout))
    source.push(None)
    lufs, peak = -math.inf, 0.0
    while True:
        try:
            seen: Any = sink.pull()
        except (NothingYet, AllRead):
            break
        found = seen.metadata
        lufs = float(found.get("lavfi.r128.I", lufs))
        peak = max(peak, float(found.get("lavfi.r128.true_peak", 0.0)))
    peak = max(peak, float(np.abs(samples).max()))
    return Loudness(lufs if lufs > _SILENCE else -math.inf, _decibels(peak))


def normalise(media: Tensor, rate: int, lufs: float) -> Tensor:
    """Return a sound [C, N] whose loudness is `lufs`, or as near as a true peak of `CEILING` dB allows, which is said.

    Silence stays as it is.
    """
    found = measure(media.detach().cpu().float().numpy(), rate)
    if not math.isfinite(found.lufs):
        return media
    wanted, room = lufs - found.lufs, CEILING - found.peak
    if wanted > room + 0.05:
        text = "loudness: %.1f LUFS would take the peaks over %g dB; it is %.1f LUFS"
        log.warning(text, lufs, CEILING, found.lufs + room)
    return media * 10 ** (min(wanted, room) / 20)


def _decibels(level: float) -> float:
    return 20 * math.log10(level) if level > 0 else -math.inf
