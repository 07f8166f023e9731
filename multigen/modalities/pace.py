"""How many samples or frames a modality has in a second, and how a length of it is said."""

from __future__ import annotations

from multigen.modalities import Modality

# Durations in s for which a modality is asked how long its media are; the longest that it accepts is the most exact.
_PROBES = (1000.0, 100.0, 10.0, 1.0)


def per_second(modality: Modality) -> float:
    """Samples or frames per second along the time axis; 0 if the modality has no duration."""
    for seconds in _PROBES:
        try:
            return modality.shape(duration=seconds)[1] / seconds
        except ValueError:
            continue
    return 0.0


def said(modality: Modality, length: float) -> str:
    """A length along time in the unit of a modality: `2.5 s`, `16 quarters`."""
    return f"{length:.6g} {unit(modality)}"


def unit(modality: Modality) -> str:
    """The unit of lengths along time of a modality, after a number: `s`, `quarters`."""
    return "s" if modality.time_unit == "seconds" else modality.time_unit
