"""Contrastive losses, who is positive to whom, and the spectral loss in closed form.

A loss is a noun with `__call__(embeddings [N, p], pairs)`, N = b m rows ordered by unit: m views of
each of b units. `pairs.positive` and `pairs.negative` are its pair weights [N, N].
"""

from cldyn.losses.columns import slope
from cldyn.losses.contrastive import LOSSES, PARTS, Both, InfoNce, SupCon, check_views
from cldyn.losses.pairs import POSITIVES, Joint, Pairs, Supervised, Unsupervised, all_pairs, mix
from cldyn.losses.spectral import (
    CappedSpectral,
    Spectral,
    spectral_gradient,
    spectral_in_frame,
)

__all__ = [
    "LOSSES",
    "PARTS",
    "POSITIVES",
    "Both",
    "CappedSpectral",
    "InfoNce",
    "Joint",
    "Pairs",
    "Spectral",
    "SupCon",
    "Supervised",
    "Unsupervised",
    "all_pairs",
    "check_views",
    "mix",
    "slope",
    "spectral_gradient",
    "spectral_in_frame",
]
