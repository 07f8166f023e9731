"""Distances between two sets of features: Fréchet, kernel, precision and recall, the Inception Score.

The same code serves every modality. Features are tensors [n, w] of any float type, one row per medium. Where a medium
has K windows, give its mean or give every window as a row; give [n, K, w] to `kernel`, since windows of one medium are
not independent samples. Everything is computed in float64 on the CPU. These functions do not know which extractor made
the features: see `multigen.evaluation.reference.check_same`.
"""

from multigen.evaluation.distances.frechet_distance import Moments as Moments
from multigen.evaluation.distances.frechet_distance import frechet as frechet
from multigen.evaluation.distances.frechet_distance import frechet_problem as frechet_problem
from multigen.evaluation.distances.frechet_distance import moments as moments
from multigen.evaluation.distances.inception import inception_score as inception_score
from multigen.evaluation.distances.kernel_distance import kernel as kernel
from multigen.evaluation.distances.kernel_distance import kernel_rise as kernel_rise
from multigen.evaluation.distances.nearest import PRDC as PRDC
from multigen.evaluation.distances.nearest import neighbours as neighbours
from multigen.evaluation.distances.nearest import prdc as prdc
from multigen.evaluation.distances.rows import Estimate as Estimate
