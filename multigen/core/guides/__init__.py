"""Guides: coroutines that turn a sampler's query into network calls, and their answers into one x0.

Write D_c for the conditional prediction D(x, t, cond) and D_u for the unconditional one, D(x, t, null):

    plain         D_c
    cfg           D_u + w (D_c - D_u)                        Ho & Salimans 2022 (arXiv:2207.12598), eq. 6, w there + 1
    compose       D_u + w (D_c - D_u) + sum_i w_i (D_i - D_u)        Liu et al. 2022 (arXiv:2206.01714), eq. 11
    autoguidance  D_weak + w (D_c - D_weak)                          Karras et al. 2024 (arXiv:2406.02507), eq. 3
    apg           D_c + (w - 1) (projected D_c - D_u)                Sadat et al. 2024 (arXiv:2410.02416), algorithm 1
    cfg_zero      cfg of velocities, D_u's scaled                    Fan et al. 2025 (arXiv:2503.18886), eq. 9 and 11
    distilled     D(x, t, cond, w), by a network that takes w        Meng et al. 2022 (arXiv:2210.03142), section 3.1

The guidance scale w = 1 turns guidance off. The first four are linear, so they are the same in x0, eps or v.

A guide is made once per trajectory, so it may keep state such as momentum in local variables. It yields a list of
calls, receives the list of answers (x0, each of the shape of its x), and returns the x0 that the sampler sees. It may
yield several times, or not at all. Guides nest with `yield from`; `modifiers` wrap them.
"""

from multigen.core.guides.autoguidance import autoguidance
from multigen.core.guides.calls import Answers, Call, Guide, Query, relayed, together, with_calls
from multigen.core.guides.cfg import cfg, compose, plain
from multigen.core.guides.cfg_zero import cfg_zero
from multigen.core.guides.distilled import distilled
from multigen.core.guides.projected import apg

__all__ = [
    "Answers",
    "Call",
    "Guide",
    "Query",
    "apg",
    "autoguidance",
    "cfg",
    "cfg_zero",
    "compose",
    "distilled",
    "plain",
    "relayed",
    "together",
    "with_calls",
]
