"""The modality-agnostic core: schedules, predictions, denoisers, timesteps, samplers, guides, driver, noise.

It imports torch, einops and itself only. Shapes: `B` batch, `C` channels, `*D` one to three axes.
"""

from multigen.core.conditioning import Cond, Conditioner, CondSpec
from multigen.core.denoiser import Backbone, Denoiser
from multigen.core.drive import Driver, Progress, Request, drive, solve
from multigen.core.guides import Call, Guide, Query, cfg, plain
from multigen.core.modifiers import fill
from multigen.core.noise import Noise, stream
from multigen.core.schedules import AlphaSigma, Schedule
from multigen.core.taps import Maps, Taps

__all__ = [
    "AlphaSigma",
    "Backbone",
    "Call",
    "Cond",
    "CondSpec",
    "Conditioner",
    "Denoiser",
    "Driver",
    "Guide",
    "Maps",
    "Noise",
    "Progress",
    "Query",
    "Request",
    "Schedule",
    "Taps",
    "cfg",
    "drive",
    "fill",
    "plain",
    "solve",
    "stream",
]
