"""Modifiers: guides around a guide. Each takes the inner guide and changes its x0, or when it is asked.

With D the inner guide's x0 and D_c the conditional prediction:

    fill                 where(mask, known, D)
    interval             D inside a range of log-SNR, D_c outside
    rescale              D with the standard deviation of D_c, by a share      Lin et al. 2023 (arXiv:2305.08891)
    threshold            D clipped to a quantile of |D| and scaled back        Saharia et al. 2022 (arXiv:2205.11487)
    clip                 D clipped to a range
    within               D_c once D is far from it in weak noise
    perturbed_attention  D + w (D_c - D_perturbed)                             Ahn et al. 2024 (arXiv:2403.17377)
    skip_layers          D + w (D_c - D_skipped)                               Hyung et al. 2024 (arXiv:2411.18664)
    safe                 D + w (sigma/alpha) gamma, away from a concept  Schramowski et al. 2022 (arXiv:2211.05105)
    posterior            D - (sigma²/alpha) gradient of the data's misfit      Chung et al. 2023 (arXiv:2209.14687)

Every modifier reuses the calls that the inner guide makes anyway. Common arguments: `guide` is the inner guide, `cond`
the request's condition, `denoiser` its denoiser.
"""

from multigen.core.modifiers.attention import perturbed_attention, skip_layers
from multigen.core.modifiers.contrast import clip, rescale, threshold
from multigen.core.modifiers.fill import fill, interval
from multigen.core.modifiers.observe import Observed, Observer, observe
from multigen.core.modifiers.posterior import posterior, posterior_in_windows
from multigen.core.modifiers.safe import safe
from multigen.core.modifiers.within import watch, within

__all__ = [
    "Observed",
    "Observer",
    "clip",
    "fill",
    "interval",
    "observe",
    "perturbed_attention",
    "posterior",
    "posterior_in_windows",
    "rescale",
    "safe",
    "skip_layers",
    "threshold",
    "watch",
    "within",
]
